// CUDA's built-ins, one result each, for one warp of 32 lanes; x is a value of each lane's own.
__device__ unsigned launches;

template <class T>
__device__ T block_maximum(T value) {
    __shared__ T largest[2][16];
    largest[threadIdx.x / 16][threadIdx.x % 16] = value;
    __syncthreads();
    T result = value;
    for (int i = 0; i < 32; i++) result = max(result, largest[i / 16][i % 16]);
    return result;
}

extern "C" __global__ void __launch_bounds__(32) lanes(const unsigned *in, unsigned *out) {
    const unsigned all = 0xffffffff, lane = threadIdx.x, x = in[lane];
    unsigned *result = out + lane;
    int k = 0;
    result[32 * k++] = __shfl_sync(all, x, 5);
    result[32 * k++] = __shfl_sync(all, x, lane + 9, 8);
    result[32 * k++] = __shfl_up_sync(all, x, 3);
    result[32 * k++] = __shfl_up_sync(all, x, 3, 16);
    result[32 * k++] = __shfl_down_sync(all, x, 7, 16);
    result[32 * k++] = __shfl_xor_sync(all, x, 11);
    result[32 * k++] = __ballot_sync(all, x & 1);
    result[32 * k++] = __any_sync(all, lane == 7) + 2 * __any_sync(all, lane == 99);
    result[32 * k++] = __all_sync(all, lane < 32) + 2 * __all_sync(all, lane < 31);
    result[32 * k++] = lane < 16 ? __ballot_sync(0x0000ffff, x & 2) : __ballot_sync(0xffff0000, x & 4);
    result[32 * k++] = __match_any_sync(all, x % 5);
    result[32 * k++] = __reduce_add_sync(all, x);
    result[32 * k++] = __syncthreads_count(x & 1);
    result[32 * k++] = __syncthreads_or(lane == 3) + 2 * __syncthreads_and(lane != 3);
    result[32 * k++] = block_maximum(x);
    result[32 * k++] = (unsigned)block_maximum(-1.5 * x) + block_maximum((long long)lane);
    result[32 * k++] = __popc(x);
    result[32 * k++] = __clz(x >> 9);
    result[32 * k++] = __ffs(x & ~15);
    result[32 * k++] = __brev(x);
    result[32 * k++] = __umulhi(x, 0xdeadbeef);
    result[32 * k++] = __umul64hi(0x123456789abcdefull * x, 0xfedcba9876543210ull);
    result[32 * k++] = __popcll(~0ull << (x & 63)) + __clzll(1ull << (x & 63)) + __ffsll(1ull << (x & 63));
    result[32 * k++] = min(x, 1000000000u) + min((int)lane, -3);
    result[32 * k++] = (unsigned)__double2ll_rz(rsqrt((double)lane + 1) * 1000000);
    if (lane == 0) result[32 * k] = atomicAdd(&launches, 1u);
}

extern "C" __global__ void atomics(unsigned *u, unsigned long long *l, float *f, double *d) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    atomicAdd(u, i);
    atomicMax(u + 1, i);
    atomicMin(u + 2, i);
    atomicOr(u + 3, 1u << (i & 31));
    atomicAnd(u + 4, ~(1u << (i & 31)));
    atomicXor(u + 5, i);
    atomicSub(u + 6, 2);
    u[8 + atomicAdd(u + 7, 1)] = i;
    atomicAdd(l, (unsigned long long)i << 32);
    atomicAdd(f, 0.5f);
    unsigned long long seen = l[1], old;
    do {
        old = seen;
        seen = atomicCAS(l + 1, old, old + 3);
    } while (seen != old);
    atomicAdd(d, 0.25);
}
