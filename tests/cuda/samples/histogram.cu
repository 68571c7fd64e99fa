// Counts in 40 bins of 25: each block counts in dynamic shared memory, then adds to the whole.
extern "C" __global__ void __launch_bounds__(128) histogram(const unsigned *in, unsigned *out, int n) {
    extern __shared__ unsigned counts[];
    int me = threadIdx.y * blockDim.x + threadIdx.x, threads = blockDim.x * blockDim.y;
    for (int b = me; b < 40; b += threads) counts[b] = 0;
    __syncthreads();
    for (int i = blockIdx.x * threads + me; i < n; i += gridDim.x * threads) atomicAdd(&counts[in[i] / 25], 1);
    __syncthreads();
    for (int b = me; b < 40; b += threads) atomicAdd(&out[b], counts[b]);
}
