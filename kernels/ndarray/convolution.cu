// Causal convolution: what its taps meet, side by side, so that it is a product of matrices (K. Chellapilla, S. Puri
// and P. Simard, IWFHR 2006), or, where a product would be of few features, the convolution itself.
#ifndef REAL
#define REAL float
#endif

typedef REAL real;
typedef unsigned int u32;
typedef long long i64;

// Row i of the result has for each tap the features at its time, (first + i) % time; those before the beginning come
// from the state, whose length is `past`, or are zeros where it is 0.
extern "C" __global__ void unfold(const real *x, const real *state, real *result, i64 first, i64 rows, i64 time,
                                  u32 n_in, u32 width, i64 dilation, i64 past, u32 parts) {
    i64 row = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    i64 batch = (first + row) / time, now = (first + row) % time;
    u32 features = n_in * parts;
    for (u32 i = threadIdx.x; i < width * features; i += blockDim.x) {
        i64 then = now - (width - 1 - i / features) * dilation;
        real item = 0;
        if (then >= 0)
            item = x[(batch * time + then) * features + i % features];
        else if (past)
            item = state[(batch * past + past + then) * features + i % features];
        result[row * width * features + i] = item;
    }
}

// A thread an output. A complex item is two numbers; taps that meet nothing are left out.
extern "C" __global__ void filter(const real *x, const real *state, const real *w, const real *bias, real *result,
                                  i64 size, u32 n_out, i64 time, u32 n_in, u32 width, i64 dilation, i64 past,
                                  bool biased, bool is_complex) {
    u32 parts = is_complex ? 2 : 1;
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step) {
        i64 row = i / n_out, out = i % n_out, batch = row / time, now = row % time;
        real sum = biased ? bias[out * parts] : 0, imaginary = biased && is_complex ? bias[out * parts + 1] : 0;
        for (u32 tap = 0; tap < width; tap++) {
            i64 then = now - (width - 1 - tap) * dilation;
            if (then < 0 && !past) continue;
            const real *item = then < 0 ? state + (batch * past + past + then) * n_in * parts
                                        : x + (batch * time + then) * n_in * parts;
            const real *weight = w + (tap * n_in * n_out + out) * parts;
            for (u32 j = 0; j < n_in; j++, item += parts, weight += n_out * parts) {
                sum += item[0] * weight[0];
                if (is_complex) {
                    sum -= item[1] * weight[1];
                    imaginary += item[0] * weight[1] + item[1] * weight[0];
                }
            }
        }
        result[i * parts] = sum;
        if (is_complex) result[i * parts + 1] = imaginary;
    }
}
