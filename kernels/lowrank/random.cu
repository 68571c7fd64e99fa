// Random words, counts of what is drawn by them, and standard normal numbers.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

constexpr double PI = 3.141592653589793;

// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011): four random words for a counter.
__device__ void philox(u32 (&c)[4], u32 k0, u32 k1) {
    for (u32 round = 0; round < 10; round++, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
        u64 first = (u64)0xD2511F53 * c[0], second = (u64)0xCD9E8D57 * c[2];
        u32 next[4] = {(u32)(second >> 32) ^ c[1] ^ k0, (u32)second, (u32)(first >> 32) ^ c[3] ^ k1, (u32)first};
        for (u32 i = 0; i < 4; i++) c[i] = next[i];
    }
}

// Row i of the result is the i-th word of each counter.
extern "C" __global__ void words(i64 *result, i64 count, u32 use, u64 key) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        u32 c[4] = {(u32)i, (u32)(i >> 32), use, 0};
        philox(c, key, key >> 32);
        for (u32 word = 0; word < 4; word++) result[word * count + i] = c[word];
    }
}

extern "C" __global__ void count(const i64 *drawn, u64 *counts, i64 size) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step) atomicAdd(counts + drawn[i], 1ull);
}

// By the method of Box and Muller; a row is `pairs` counters, of which the last one may give a number too many.
extern "C" __global__ void normals(double *result, i64 rows, i64 columns, i64 pairs, u32 use, u64 key) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < rows * pairs; i += step) {
        u32 c[4] = {(u32)i, (u32)(i >> 32), use, 0};
        philox(c, key, key >> 32);
        double u = (((u64)c[0] << 21 | c[1] >> 11) + 1) * 0x1p-53;
        double angle = 2 * PI * (((u64)c[2] << 21 | c[3] >> 11) * 0x1p-53), radius = sqrt(-2 * log(u));
        i64 column = i % pairs * 2;
        double *pair = result + i / pairs * columns + column;
        pair[0] = radius * cos(angle);
        if (column + 1 < columns) pair[1] = radius * sin(angle);
    }
}
