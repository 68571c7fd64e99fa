// Attention without the matrix of scores (T. Dao et al., "FlashAttention", NeurIPS 2022): a block has 64 queries and
// walks over the keys, 64 at a time, with the softmax taken online (Milakov and Gimelshein, arXiv:1805.02867). Scores
// and results are products of matrices by tiles in registers, four by four a thread.
#ifndef REAL
#define REAL float
#endif

typedef REAL real;
typedef unsigned int u32;
typedef long long i64;

constexpr u32 EACH = 4;                    // queries and keys a thread
constexpr u32 SIDE = 16;                   // threads along each side of a tile
constexpr u32 TILE = SIDE * EACH;          // queries and keys a tile
constexpr u32 VALUES = 2;                  // so many times 64 features of a value fit
constexpr u32 DEPTH = 64 / sizeof(real);   // how much of a product is in shared memory at once
constexpr u32 THREADS = SIDE * SIDE;
constexpr u32 ALL = 0xFFFFFFFF;

struct alignas(16) Four {
    real item[EACH];
};

__device__ real infinity() { return __int_as_float(0x7F800000); }

__device__ real shift_of(real peak) { return peak == -infinity() ? 0 : peak; }

// Rows from `row` on of a matrix of n x d, and of them DEPTH columns: as rows of columns, with zeros beyond the edges.
__device__ void load_transposed(Four (*tile)[SIDE + 1], const real *matrix, i64 n, i64 d, i64 row, i64 column) {
    for (u32 i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
        u32 r = i / DEPTH, c = i % DEPTH;
        bool inside = row + r < n && column + c < d;
        tile[c][r / EACH].item[r % EACH] = inside ? matrix[(row + r) * d + column + c] : 0;
    }
}

extern "C" __global__ void __launch_bounds__(256)
    flash(const real *q, const real *k, const real *v, const bool *mask, const i64 *mask_starts, real *result, i64 n,
          i64 m, i64 d, i64 e, i64 mask_row, i64 mask_column, bool masked, real scale) {
    __shared__ Four weights[TILE][SIDE + 1], piece[2 * DEPTH][SIDE + 1];
    Four(*queries)[SIDE + 1] = piece, (*keys)[SIDE + 1] = piece + DEPTH;
    Four(*values)[VALUES * SIDE] = (Four(*)[VALUES * SIDE])piece;  // when the product of queries and keys is done
    static_assert(sizeof(piece) >= DEPTH * VALUES * SIDE * sizeof(Four), "a piece of the values fits");
    i64 tiles = (n + TILE - 1) / TILE, batch = blockIdx.x / tiles;
    u32 x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
    i64 first_query = blockIdx.x % tiles * TILE, my_query = first_query + y * EACH;
    q += batch * n * d;
    k += batch * m * d;
    v += batch * m * e;
    result += batch * n * e;
    if (masked) mask += mask_starts[batch];

    real peaks[EACH], sums[EACH] = {}, out[EACH][VALUES][EACH] = {};
    for (u32 i = 0; i < EACH; i++) peaks[i] = -infinity();
    for (i64 first_key = 0; first_key < m; first_key += TILE) {
        i64 my_key = first_key + x * EACH;
        u32 allowed = 0;  // a bit for each pair of a query and a key
#pragma unroll
        for (u32 i = 0; i < EACH; i++)
#pragma unroll
            for (u32 j = 0; j < EACH; j++)
                if (my_query + i < n && my_key + j < m &&
                    (!masked || mask[(my_query + i) * mask_row + (my_key + j) * mask_column]))
                    allowed |= 1u << (i * EACH + j);
        if (masked && !__syncthreads_or(allowed)) continue;

        real scores[EACH][EACH] = {};
        for (i64 column = 0; column < d; column += DEPTH) {
            __syncthreads();
            load_transposed(queries, q, n, d, first_query, column);
            load_transposed(keys, k, m, d, first_key, column);
            __syncthreads();
#pragma unroll
            for (u32 c = 0; c < DEPTH; c++) {
                Four query = queries[c][y], key = keys[c][x];
#pragma unroll
                for (u32 i = 0; i < EACH; i++)
#pragma unroll
                    for (u32 j = 0; j < EACH; j++) scores[i][j] += query.item[i] * key.item[j];
            }
        }

#pragma unroll
        for (u32 i = 0; i < EACH; i++) {
            real peak = peaks[i], sum = 0;
#pragma unroll
            for (u32 j = 0; j < EACH; j++) {
                scores[i][j] *= scale;
                if (allowed >> (i * EACH + j) & 1) peak = max(peak, scores[i][j]);
            }
            for (u32 lanes = SIDE / 2; lanes; lanes /= 2) peak = max(peak, __shfl_xor_sync(ALL, peak, lanes));
            real shift = shift_of(peak), fading = peaks[i] == -infinity() ? 1 : exp(peaks[i] - shift);
#pragma unroll
            for (u32 j = 0; j < EACH; j++) {
                scores[i][j] = allowed >> (i * EACH + j) & 1 ? exp(scores[i][j] - shift) : 0;
                sum += scores[i][j];
            }
            for (u32 lanes = SIDE / 2; lanes; lanes /= 2) sum += __shfl_xor_sync(ALL, sum, lanes);
            peaks[i] = peak;
            sums[i] = sums[i] * fading + sum;
#pragma unroll
            for (u32 h = 0; h < VALUES; h++)
#pragma unroll
                for (u32 j = 0; j < EACH; j++) out[i][h][j] *= fading;
        }

        __syncthreads();
#pragma unroll
        for (u32 j = 0; j < EACH; j++) {
            Four column;
#pragma unroll
            for (u32 i = 0; i < EACH; i++) column.item[i] = scores[i][j];
            weights[x * EACH + j][y] = column;
        }
        for (u32 key = 0; key < TILE && first_key + key < m; key += DEPTH) {
            __syncthreads();
            for (u32 i = threadIdx.x; i < DEPTH * VALUES * TILE; i += THREADS) {
                u32 row = i / (VALUES * TILE), c = i % (VALUES * TILE);
                bool inside = first_key + key + row < m && c < e;
                values[row][c / EACH].item[c % EACH] = inside ? v[(first_key + key + row) * e + c] : 0;
            }
            __syncthreads();
#pragma unroll
            for (u32 row = 0; row < DEPTH; row++) {
                Four weight = weights[key + row][y];
#pragma unroll
                for (u32 h = 0; h < VALUES; h++)
                    if (h * TILE < e) {
                        Four value = values[row][h * SIDE + x];
#pragma unroll
                        for (u32 i = 0; i < EACH; i++)
#pragma unroll
                            for (u32 j = 0; j < EACH; j++) out[i][h][j] += weight.item[i] * value.item[j];
                    }
            }
        }
    }

#pragma unroll
    for (u32 i = 0; i < EACH; i++)
#pragma unroll
        for (u32 h = 0; h < VALUES; h++)
#pragma unroll
            for (u32 j = 0; j < EACH; j++) {
                i64 feature = h * TILE + x * EACH + j;
                if (my_query + i < n && feature < e)
                    result[(my_query + i) * e + feature] = sums[i] == 0 ? 0 : out[i][h][j] / sums[i];
            }
}

// A sum, or the largest number, of all threads.
template <bool SUM>
__device__ real of_all(real item) {
    __shared__ real items[THREADS / 32];
    for (u32 lanes = 16; lanes; lanes /= 2) {
        real other = __shfl_xor_sync(ALL, item, lanes);
        item = SUM ? item + other : max(item, other);
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) items[threadIdx.x / 32] = item;
    __syncthreads();
    item = items[0];
    for (u32 i = 1; i < THREADS / 32; i++) item = SUM ? item + items[i] : max(item, items[i]);
    return item;
}

// The softmax of scores that are there: a block has the row of a query, the queries being those from `first_query` on
// of the elements from `first_batch` on of the batch.
extern "C" __global__ void __launch_bounds__(256)
    masked_softmax(real *scores, const bool *mask, const i64 *mask_starts, i64 first_batch, i64 first_query,
                   i64 queries, i64 m, i64 mask_row, i64 mask_column, bool masked, real scale) {
    scores += blockIdx.x * m;
    if (masked) mask += mask_starts[first_batch + blockIdx.x / queries];
    if (masked) mask += (first_query + blockIdx.x % queries) * mask_row;
    real peak = -infinity(), sum = 0;
    for (i64 j = threadIdx.x; j < m; j += THREADS)
        if (!masked || mask[j * mask_column]) peak = max(peak, scores[j] * scale);
    real shift = shift_of(of_all<false>(peak));
    for (i64 j = threadIdx.x; j < m; j += THREADS) {
        scores[j] = !masked || mask[j * mask_column] ? exp(scores[j] * scale - shift) : 0;
        sum += scores[j];
    }
    sum = of_all<true>(sum);
    for (i64 j = threadIdx.x; j < m; j += THREADS) scores[j] = sum == 0 ? 0 : scores[j] / sum;
}
