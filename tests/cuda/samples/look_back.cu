// Prefix sums in one pass: decoupled look-back (Merrill and Garland 2016), a tile of 64 numbers a block.
// status[tile] is 0 until the tile has published its sum (1) and then its inclusive prefix (2).
extern "C" __global__ void look_back(const unsigned *in, unsigned *out, int n, unsigned *next_tile,
                                     volatile unsigned *status, volatile unsigned *sum, volatile unsigned *prefix) {
    __shared__ unsigned tile, before, scan[64];
    if (threadIdx.x == 0) tile = atomicAdd(next_tile, 1u);
    __syncthreads();
    int i = tile * 64 + threadIdx.x;
    scan[threadIdx.x] = i < n ? in[i] : 0;
    __syncthreads();
    for (int distance = 1; distance < 64; distance *= 2) {
        unsigned left = threadIdx.x >= distance ? scan[threadIdx.x - distance] : 0;
        __syncthreads();
        scan[threadIdx.x] += left;
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        unsigned total = 0;
        sum[tile] = scan[63];
        __threadfence();
        status[tile] = 1;
        for (int j = (int)tile - 1; j >= 0; j--) {
            unsigned seen;
            do seen = status[j];
            while (seen == 0);
            __threadfence();
            if (seen == 2) {
                total += prefix[j];
                break;
            }
            total += sum[j];
        }
        prefix[tile] = total + scan[63];
        __threadfence();
        status[tile] = 2;
        before = total;
    }
    __syncthreads();
    if (i < n) out[i] = before + scan[threadIdx.x];
}
