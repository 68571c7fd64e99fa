// The sum of each block's 256 numbers: a tree in shared memory, then shuffles within the last warp.
extern "C" __global__ void reduction(const unsigned *in, unsigned *out, int n) {
    __shared__ unsigned partial[256];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    partial[threadIdx.x] = i < n ? in[i] : 0;
    __syncthreads();
    for (int width = 128; width >= 32; width /= 2) {
        if (threadIdx.x < width) partial[threadIdx.x] += partial[threadIdx.x + width];
        __syncthreads();
    }
    if (threadIdx.x < 32) {
        unsigned sum = partial[threadIdx.x];
        for (int delta = 16; delta; delta /= 2) sum += __shfl_down_sync(0xffffffff, sum, delta);
        if (threadIdx.x == 0) out[blockIdx.x] = sum;
    }
}
