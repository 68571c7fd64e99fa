// The terms of a product: their norms, and the columns and rows of those that were drawn, side by side.
//
// Squares are summed in double precision. Those of single precision fit there; else they go to one of three sums, so
// that what is large or small is scaled by a power of two (J. L. Blue, ACM Transactions on Mathematical Software 4,
// 1978). A complex item is two numbers. Which thread sums what depends on shapes alone, so that norms are repeatable.
#ifndef REAL
#define REAL float
#endif

typedef REAL real;
typedef unsigned int u32;
typedef long long i64;

constexpr u32 WARP = 32;
constexpr u32 ALL = 0xFFFFFFFF;

struct Squares {
    double small, medium, large;
    __device__ Squares() : small(0), medium(0), large(0) {}
    __device__ void add(real x) {
        double size = fabs((double)x);
        if (sizeof(real) == 4 || !(size < 0x1p-511 || size > 0x1p486))
            medium += size * size;
        else if (size < 1)
            small += (size * 0x1p537) * (size * 0x1p537);
        else
            large += (size * 0x1p-538) * (size * 0x1p-538);
    }
    __device__ void merge(const Squares &other) {
        small += other.small;
        medium += other.medium;
        large += other.large;
    }
    // The sum over `lanes` neighbours, a power of two; whole warps take part.
    __device__ void merge_lanes(u32 lanes) {
        for (u32 apart = lanes / 2; apart; apart /= 2) {
            Squares other;
            other.small = __shfl_xor_sync(ALL, small, apart);
            other.medium = __shfl_xor_sync(ALL, medium, apart);
            other.large = __shfl_xor_sync(ALL, large, apart);
            merge(other);
        }
    }
    __device__ double norm() const { return hypot(hypot(sqrt(large) * 0x1p538, sqrt(medium)), sqrt(small) * 0x1p-537); }
};

// A team of neighbours takes every team-th number of a slice of a column.
extern "C" __global__ void __launch_bounds__(256) sum_squares(const real *__restrict__ x, Squares *parts, i64 columns,
                                                              i64 length, i64 to_next_column, i64 to_next_number,
                                                              u32 team) {
    i64 thread = (i64)blockIdx.x * blockDim.x + threadIdx.x, column = thread / team;
    i64 share = (length + gridDim.y - 1) / gridDim.y, begin = blockIdx.y * share, end = min(begin + share, length);
    bool first = column < columns && thread % team == 0;
    Squares squares;
    if (column < columns) {
        const real *numbers = x + column * to_next_column;
#pragma unroll 4
        for (i64 i = begin + thread % team; i < end; i += team) squares.add(numbers[i * to_next_number]);
    }
    squares.merge_lanes(team);
    if (first) parts[blockIdx.y * columns + column] = squares;
}

// A warp for a term, which is as many columns as an item has `cells`.
extern "C" __global__ void __launch_bounds__(256) norms(const Squares *parts, double *result, i64 terms, u32 cells,
                                                        u32 slices) {
    i64 term = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    u32 lane = threadIdx.x % WARP;
    Squares squares;
    if (term < terms)
        for (u32 i = lane; i < slices * cells; i += WARP)
            squares.merge(parts[(i / cells * terms + term) * cells + i % cells]);
    squares.merge_lanes(WARP);
    if (term < terms && lane == 0) result[term] = squares.norm();
}

// Slot i is of the i-th term whose factor is not 0; `places` counts those up to each term.
extern "C" __global__ void fill_slots(const double *factors, const i64 *places, i64 *indices, double *kept, i64 terms) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < terms; i += step) {
        if (factors[i] == 0) continue;
        indices[places[i] - 1] = i;
        kept[places[i] - 1] = factors[i];
    }
}

__device__ i64 quotient(i64 a, i64 b) { return (a | b) >> 32 ? a / b : (u32)a / (u32)b; }  // the latter is far quicker

// From an array of the shape (before, terms, after) the terms in the slots, each multiplied by its factor. Where that is
// 0, an item may be NaN or infinite, and counts for nothing.
extern "C" __global__ void take(const real *__restrict__ x, const i64 *indices, const double *factors, real *result,
                                i64 before, i64 terms, i64 slots, i64 after) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= slots * after) return;
    i64 slot = quotient(i, after), from = indices[slot] * after + i - slot * after;
    double factor = factors[slot];
#pragma unroll 4
    for (i64 row = blockIdx.y; row < before; row += gridDim.y)
        result[row * slots * after + i] = factor == 0 ? 0 : x[row * terms * after + from] * factor;
}
