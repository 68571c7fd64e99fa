// What HSIC needs of the distances between the rows of a matrix: sums of Gaussian kernels, and order statistics.
// Squared distances are made in tiles of 64 by 64, four by four a thread, and never stored. In double precision always.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

constexpr u32 EACH = 4;
constexpr u32 SIDE = 16;
constexpr u32 TILE = SIDE * EACH;
constexpr u32 DEPTH = 8;
constexpr u32 THREADS = SIDE * SIDE;
constexpr u32 ALL = 0xFFFFFFFF;
constexpr u32 BINS = 2048;

struct alignas(16) Four {
    double item[EACH];
};

__device__ void load_transposed(Four (*tile)[SIDE + 1], const double *x, i64 n, i64 p, i64 row, i64 column) {
    for (u32 i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
        u32 r = i / DEPTH, c = i % DEPTH;
        tile[c][r / EACH].item[r % EACH] = row + r < n && column + c < p ? x[(row + r) * p + column + c] : 0;
    }
}

// Squared distances of the rows from `left` on to those from `right` on.
__device__ void squared_distances(const double *x, i64 n, i64 p, i64 left, i64 right, double (&squares)[EACH][EACH]) {
    __shared__ Four lefts[DEPTH][SIDE + 1], rights[DEPTH][SIDE + 1];
    for (u32 i = 0; i < EACH; i++)
        for (u32 j = 0; j < EACH; j++) squares[i][j] = 0;
    for (i64 column = 0; column < p; column += DEPTH) {
        __syncthreads();
        load_transposed(lefts, x, n, p, left, column);
        load_transposed(rights, x, n, p, right, column);
        __syncthreads();
        u32 depth = min(p - column, (i64)DEPTH);
        for (u32 c = 0; c < depth; c++) {
            Four a = lefts[c][threadIdx.x / SIDE], b = rights[c][threadIdx.x % SIDE];
#pragma unroll
            for (u32 i = 0; i < EACH; i++)
#pragma unroll
                for (u32 j = 0; j < EACH; j++) {
                    double apart = a.item[i] - b.item[j];
                    squares[i][j] += apart * apart;
                }
        }
    }
}

__device__ double gaussian(double square, double narrowness) {
    return square == 0 ? 1 : exp(-0.5 * (square * narrowness) * narrowness);
}

// For each row i the sums over j of K, of L and of K * L, by slices of the j: parts has the shape (3, slices, n).
extern "C" __global__ void __launch_bounds__(256) gaussians(const double *x, const double *y, const double *sigma_x,
                                                            const double *sigma_y, double *parts, i64 n, i64 p, i64 q) {
    i64 left = (i64)blockIdx.x * TILE;
    u32 mine = threadIdx.x / SIDE * EACH, other = threadIdx.x % SIDE * EACH;
    double narrow_x = 1 / *sigma_x, narrow_y = 1 / *sigma_y, sums[3][EACH] = {}, k[EACH][EACH], l[EACH][EACH];
    for (i64 right = (i64)blockIdx.y * TILE; right < n; right += (i64)gridDim.y * TILE) {
        squared_distances(x, n, p, left, right, k);
        squared_distances(y, n, q, left, right, l);
#pragma unroll
        for (u32 i = 0; i < EACH; i++)
#pragma unroll
            for (u32 j = 0; j < EACH; j++)
                if (right + other + j < n) {
                    double of_x = gaussian(k[i][j], narrow_x), of_y = gaussian(l[i][j], narrow_y);
                    sums[0][i] += of_x;
                    sums[1][i] += of_y;
                    sums[2][i] += of_x * of_y;
                }
    }
    for (u32 which = 0; which < 3; which++)
        for (u32 i = 0; i < EACH; i++) {
            double sum = sums[which][i];
            for (u32 lanes = SIDE / 2; lanes; lanes /= 2) sum += __shfl_xor_sync(ALL, sum, lanes);
            i64 row = left + mine + i;
            if (other == 0 && row < n) parts[(which * gridDim.y + blockIdx.y) * n + row] = sum;
        }
}

// Order statistics by their bits, from the highest on: doubles that are not negative are ordered as their bits are.
// Counts, for two wanted numbers, how often each digit follows the bits that are known; once where those are the same.
extern "C" __global__ void __launch_bounds__(256) count_digits(const double *x, i64 n, i64 p, const u64 *wanted,
                                                               u64 *counts, u32 shift, u32 width) {
    __shared__ u32 here[2][BINS];
    for (u32 i = threadIdx.x; i < 2 * BINS; i += THREADS) here[i / BINS][i % BINS] = 0;
    __syncthreads();
    u64 known = wanted[0], also_known = wanted[1];
    u32 digits = (1u << width) - 1;
    i64 left = (i64)blockIdx.x * TILE;
    u32 mine = threadIdx.x / SIDE * EACH, other = threadIdx.x % SIDE * EACH;
    double squares[EACH][EACH];
    for (i64 right = left + (i64)blockIdx.y * TILE; right < n; right += (i64)gridDim.y * TILE) {
        squared_distances(x, n, p, left, right, squares);
        for (u32 i = 0; i < EACH; i++)
            for (u32 j = 0; j < EACH; j++) {
                if (left + mine + i >= right + other + j || right + other + j >= n) continue;
                u64 bits = __double_as_longlong(squares[i][j]);
                if ((bits ^ known) >> shift >> width == 0) atomicAdd(&here[0][bits >> shift & digits], 1u);
                if (known != also_known && (bits ^ also_known) >> shift >> width == 0)
                    atomicAdd(&here[1][bits >> shift & digits], 1u);
            }
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < 2 * BINS; i += THREADS)
        if (u32 count = here[i / BINS][i % BINS]) atomicAdd(&counts[i], (u64)count);
}

// The next digit of the two wanted numbers, which have their ranks behind them, a warp each; clears the counts.
extern "C" __global__ void __launch_bounds__(64) choose_digit(u64 *wanted, u64 *counts, u32 shift) {
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, each = BINS / 32;
    bool same = wanted[0] == wanted[1];
    const u64 *mine = counts + (same ? 0 : warp * BINS) + lane * each;
    u64 rank = wanted[2 + warp], sum = 0;
    for (u32 i = 0; i < each; i++) sum += mine[i];
    u64 below = sum;
    for (u32 delta = 1; delta < 32; delta *= 2) {
        u64 left = __shfl_up_sync(ALL, below, delta);
        if (lane >= delta) below += left;
    }
    below -= sum;
    __syncthreads();
    if (below <= rank && rank < below + sum) {
        u32 digit = 0;
        for (; rank >= below + mine[digit]; digit++) below += mine[digit];
        wanted[warp] |= (u64)(lane * each + digit) << shift;
        wanted[2 + warp] = rank - below;
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < 2 * BINS; i += blockDim.x) counts[i] = 0;
}
