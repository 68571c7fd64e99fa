// Angles between random directions: their density, and samples of them. All in double precision, whatever is stored.
#ifndef REAL
#define REAL float
#endif

typedef REAL real;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

constexpr double PI = 3.141592653589793;

// factor * sin(theta)**power from 0 to PI. Near PI / 2, where the sine is rounded off to one, the cosine is not.
__device__ double density(double theta, double power, double factor) {
    if (theta < 0 || theta > PI) return 0;
    double cosine = cos(theta), square = cosine * cosine;
    if (square < 0.5) return factor * exp(power / 2 * log1p(-square));
    return power ? factor * pow(sin(theta), power) : factor;
}

extern "C" __global__ void densities(const real *theta, real *result, i64 size, double power, double factor) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step)
        result[i] = theta[i] == theta[i] ? density(theta[i], power, factor) : theta[i];
}

// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011): four random words for a counter.
__device__ void philox(u32 (&c)[4], u32 k0, u32 k1) {
    for (u32 round = 0; round < 10; round++, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
        u64 first = (u64)0xD2511F53 * c[0], second = (u64)0xCD9E8D57 * c[2];
        u32 next[4] = {(u32)(second >> 32) ^ c[1] ^ k0, (u32)second, (u32)(first >> 32) ^ c[3] ^ k1, (u32)first};
        for (u32 i = 0; i < 4; i++) c[i] = next[i];
    }
}

// The cotangent, times sqrt(freedom), has Student's distribution (Bailey, Mathematics of Computation 62, 1994).
extern "C" __global__ void sample_angles(double *result, i64 size, double freedom, u64 key) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step) {
        u32 words[4] = {(u32)i, (u32)(i >> 32), 0, 0};
        philox(words, key, key >> 32);
        double u = (((u64)words[0] << 21 | words[1] >> 11) + 1) * 0x1p-53;
        double turn = ((u64)words[2] << 21 | words[3] >> 11) * 0x1p-53;
        result[i] = atan2(1.0, sqrt(expm1(-2 / freedom * log(u))) * cos(2 * PI * turn));
    }
}
