// Dynamic routing between capsules. The logits are sums over the rounds of votes . outputs, thus the product of the
// votes with the sum of all outputs so far, the directions: a round reads the votes once and stores nothing of their
// size.
#ifndef REAL
#define REAL float
#endif

typedef REAL real;
typedef unsigned int u32;
typedef long long i64;

constexpr u32 THREADS = 256;
constexpr u32 ALL = 0xFFFFFFFF;

__device__ real infinity() { return __int_as_float(0x7F800000); }

template <class T>
__device__ T sum_over(T item, u32 lanes) {
    for (u32 apart = lanes / 2; apart; apart /= 2) item += __shfl_xor_sync(ALL, item, apart);
    return item;
}

// The logits of a tile of inputs: `lanes` threads a product.
__device__ void agree(const real *votes, const real *directions, real *logits, i64 pairs, i64 n_out, i64 d, u32 lanes) {
    u32 lane = threadIdx.x % lanes;
    for (i64 first = 0; first < pairs; first += THREADS / lanes) {
        i64 pair = first + threadIdx.x / lanes;
        real product = 0;
        if (pair < pairs) {
            const real *vote = votes + pair * d, *direction = directions + pair % n_out * d;
            for (i64 i = lane; i < d; i += lanes) product += vote[i] * direction[i];
        }
        product = sum_over(product, lanes);
        if (pair < pairs && lane == 0) logits[pair] = product;
    }
}

// The softmax of each row, a warp a row.
__device__ void normalise(real *logits, i64 rows, i64 n_out) {
    u32 lane = threadIdx.x % 32;
    for (i64 row = threadIdx.x / 32; row < rows; row += THREADS / 32) {
        real *logit = logits + row * n_out, peak = -infinity(), sum = 0;
        for (i64 j = lane; j < n_out; j += 32) peak = max(peak, logit[j]);
        for (u32 apart = 16; apart; apart /= 2) peak = max(peak, __shfl_xor_sync(ALL, peak, apart));
        for (i64 j = lane; j < n_out; j += 32) sum += logit[j] = exp(logit[j] - peak);
        sum = sum_over(sum, 32);
        for (i64 j = lane; j < n_out; j += 32) logit[j] /= sum;
    }
}

// The weighted sums of a slice of the inputs of one element of the batch. Each block has memory for the weights of a
// tile of inputs; in the first round they are all the same.
extern "C" __global__ void __launch_bounds__(256)
    route(const real *votes, const real *directions, real *weights, real *sums, i64 n_in, i64 n_out, i64 d, i64 tile,
          u32 slices, u32 lanes, bool first_round) {
    __shared__ real parts[THREADS];
    i64 batch = blockIdx.x / slices, slice = blockIdx.x % slices, row = n_out * d;
    i64 length = (n_in + slices - 1) / slices, stop = min((slice + 1) * length, n_in);
    // A row that is shorter than the block is summed by several groups of threads.
    u32 span = min(row, (i64)THREADS), groups = THREADS / span, group = threadIdx.x / span, place = threadIdx.x % span;
    weights += blockIdx.x * tile * n_out;
    sums += blockIdx.x * row;
    for (i64 i = threadIdx.x; i < row; i += THREADS) sums[i] = 0;
    for (i64 input = slice * length; input < stop; input += tile) {
        i64 inputs = min(tile, stop - input);
        const real *here = votes + (batch * n_in + input) * row;
        if (!first_round) {
            agree(here, directions + batch * row, weights, inputs * n_out, n_out, d, lanes);
            __syncthreads();
            normalise(weights, inputs, n_out);
        }
        __syncthreads();
        for (i64 first = 0; first < row; first += span) {
            i64 item = first + place;
            real sum = 0;
            if (group < groups && item < row)
                for (i64 i = group; i < inputs; i += groups)
                    sum += here[i * row + item] * (first_round ? (real)1 / n_out : weights[i * n_out + item / d]);
            parts[threadIdx.x] = sum;
            __syncthreads();
            if (group == 0 && item < row) {
                for (u32 g = 1; g < groups; g++) sum += parts[g * span + place];
                sums[item] += sum;
            }
            __syncthreads();
        }
    }
}

// Adds up the slices, and squashes: a warp an output. The squares are summed in double precision, lest they overflow.
extern "C" __global__ void __launch_bounds__(256) squash(const real *sums, real *directions, real *outputs,
                                                         i64 capsules, i64 n_out, i64 d, u32 slices, bool first_round) {
    i64 capsule = (i64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32, batch = capsule / n_out;
    if (capsule >= capsules) return;
    sums += (batch * slices * n_out + capsule % n_out) * d;
    directions += capsule * d;
    outputs += capsule * d;
    u32 lane = threadIdx.x % 32;
    double squares = 0;
    for (i64 i = lane; i < d; i += 32) {
        real sum = 0;
        for (u32 slice = 0; slice < slices; slice++) sum += sums[slice * n_out * d + i];
        squares += (double)sum * sum;
        outputs[i] = sum;
    }
    squares = sum_over(squares, 32);
    real factor = sqrt(squares) / (1 + squares);
    for (i64 i = lane; i < d; i += 32) {
        outputs[i] *= factor;
        directions[i] = first_round ? outputs[i] : directions[i] + outputs[i];
    }
}
