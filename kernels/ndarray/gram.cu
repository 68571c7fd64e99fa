// The factor log(x) + 1 of a Gram-like product, and the product itself where x has few columns.
#ifndef REAL
#define REAL float
#endif

typedef REAL real;
typedef unsigned int u32;
typedef long long i64;

constexpr u32 THREADS = 256;
constexpr u32 TILE = 2048;  // items of x in shared memory, and as many logarithms

__device__ real log_plus_one(real x) { return x == 0 ? 0 : log(x) + 1; }

extern "C" __global__ void logs(const real *x, real *result, i64 size) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step) result[i] = log_plus_one(x[i]);
}

// x.T @ (log(x) + 1) of every gridDim.x-th tile of rows of n x d, d up to 16. A thread has two by two of the d x d
// sums, and every groups-th row of a tile.
extern "C" __global__ void __launch_bounds__(256) narrow_gram(const real *x, real *parts, i64 n, u32 d) {
    __shared__ real items[TILE], logarithms[TILE];
    u32 half = (d + 1) / 2, width = 2 * half, tile_rows = TILE / width, pairs = half * half, groups = THREADS / pairs;
    u32 group = threadIdx.x / pairs, i = threadIdx.x % pairs / half * 2, j = threadIdx.x % half * 2;
    real sums[2][2] = {};
    for (i64 first = (i64)blockIdx.x * tile_rows; first < n; first += (i64)gridDim.x * tile_rows) {
        u32 rows = min(n - first, (i64)tile_rows);
        for (u32 at = threadIdx.x; at < rows * d; at += THREADS) {
            real item = x[first * d + at];
            u32 place = at / d * width + at % d;
            items[place] = item;
            logarithms[place] = log_plus_one(item);
        }
        __syncthreads();
        if (group < groups) {
            for (u32 row = group; row < rows; row += groups) {
                const real *left = items + row * width + i, *right = logarithms + row * width + j;
                for (u32 a = 0; a < 2; a++)
                    for (u32 b = 0; b < 2; b++) sums[a][b] += left[a] * right[b];
            }
        }
        __syncthreads();
    }
    if (group < groups)
        for (u32 a = 0; a < 2; a++)
            for (u32 b = 0; b < 2; b++) items[(group * width + i + a) * width + j + b] = sums[a][b];
    __syncthreads();
    if (threadIdx.x < d * d) {
        real sum = 0;
        for (u32 g = 0; g < groups; g++) sum += items[(g * width + threadIdx.x / d) * width + threadIdx.x % d];
        parts[blockIdx.x * d * d + threadIdx.x] = sum;
    }
}
