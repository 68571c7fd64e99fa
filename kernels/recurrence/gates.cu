// A simple recurrent unit whose gates see the state before: step after step, a thread a column, which is a feature of
// a sequence. Neighbours in memory are of neighbouring threads.
#ifndef REAL
#define REAL float
#endif

typedef REAL real;
typedef long long i64;

__device__ real sigmoid(real x) { return 1 / (1 + exp(-x)); }

// Rows of `products` are candidates, forget gates and reset gates, side by side; those of `biases` and `peepholes` are
// of the two gates.
extern "C" __global__ void __launch_bounds__(64) with_peepholes(const real *__restrict__ x,
                                                                const real *__restrict__ products,
                                                                const real *__restrict__ biases,
                                                                const real *__restrict__ peepholes,
                                                                const real *__restrict__ initial, real *states,
                                                                real *outputs, real *final, i64 time, i64 features,
                                                                i64 columns) {
    i64 column = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    i64 batch = column / features, feature = column - batch * features;
    real forget_bias = biases[feature], reset_bias = biases[features + feature];
    real forget_peephole = peepholes[feature], reset_peephole = peepholes[features + feature];
    real c = initial ? initial[column] : 0;
#pragma unroll 4
    for (i64 row = batch * time; row < (batch + 1) * time; row++) {
        const real *product = products + row * 3 * features + feature;
        real f = sigmoid(product[features] + forget_peephole * c + forget_bias);
        real r = sigmoid(product[2 * features] + reset_peephole * c + reset_bias);
        i64 item = row * features + feature;
        c = f * c + (1 - f) * product[0];
        states[item] = c;
        outputs[item] = r * c + (1 - r) * x[item];
    }
    final[column] = c;
}
