// Softmax, its sum and batch normalisation of an array of four axes, (outer, rows, columns, cells), that is reduced
// over rows and cells; what is left has one index, outer * columns + column, and is called a column here.
//
// A team of threads shares a column, or a slice of one where columns are few and long. Its members are neighbours where
// cells lie side by side, else `stride` threads apart, so that neighbours read neighbouring columns. What is known of a
// part of a column is a state that can be merged with another one: of the sum of exponentials (Milakov and Gimelshein,
// arXiv:1805.02867), or of the moments (Chan, Golub and LeVeque, The American Statistician 37, 1983).
#ifndef REAL
#define REAL float
#endif

typedef REAL real;
typedef unsigned int u32;
typedef long long i64;

constexpr u32 THREADS = 256;
constexpr u32 ALL = 0xFFFFFFFF;
constexpr u32 AHEAD = 4;  // so many loads are under way at once

__device__ real infinity() { return __int_as_float(0x7F800000); }

struct SumExp {  // the sum of exp(x - peak)
    real peak, sum;
    __device__ SumExp() : peak(-infinity()), sum(0) {}
    __device__ void add(real x) {
        if (x > peak) {
            sum = sum * exp(peak - x) + 1;
            peak = x;
        } else {
            sum += x == peak ? 1 : exp(x - peak);
        }
    }
    __device__ real at(real top) const { return peak == top ? sum : sum * exp(peak - top); }
    __device__ void merge(const SumExp &other) {
        real top = max(peak, other.peak);
        sum = at(top) + other.at(top);
        peak = top;
    }
};

struct Moments {  // how many, their mean, and the sum of the squared deviations
    real count, mean, squares;
    __device__ Moments() : count(0), mean(0), squares(0) {}
    __device__ Moments(real count, real mean, real squares) : count(count), mean(mean), squares(squares) {}
    __device__ void add(real x) {
        count += 1;
        real before = x - mean;
        mean = isinf(mean) ? mean + x : mean + before / count;
        squares += before * (x - mean);
    }
    __device__ void merge(const Moments &other) {
        if (other.count == 0) return;
        real total = count + other.count, apart = other.mean - mean, share = other.count / total;
        squares += other.squares + apart * apart * count * share;
        mean = count == 0 ? other.mean : isinf(mean) || isinf(other.mean) ? mean + other.mean : mean + apart * share;
        count = total;
    }
};

// The items that a thread takes: every team-th of a slice, as positions in the array.
struct Items {
    i64 at, left, cell, cells, to_next_row, step, step_cells;
    __device__ void next() {
        at += step;
        cell += step_cells;
        if (cell >= cells) {
            cell -= cells;
            at += to_next_row;
        }
        left--;
    }
};

struct Team {
    u32 size, stride, member;
    i64 column;
    bool exists, first;  // whether there is such a column, and whether this thread writes what stands once for it
    i64 columns, rows, cells;

    __device__ Team(i64 n_columns, i64 columns, i64 rows, i64 cells, u32 size, u32 stride)
        : size(size), stride(stride), columns(columns), rows(rows), cells(cells) {
        member = threadIdx.x / stride % size;
        u32 group = threadIdx.x / (stride * size) * stride + threadIdx.x % stride;
        column = (i64)blockIdx.x * (THREADS / size) + group;
        exists = column < n_columns;
        first = exists && member == 0;
    }

    __device__ Items items(u32 slice, u32 slices) const {
        i64 length = (rows * cells + slices - 1) / slices, begin = slice * length + member;
        i64 end = min((slice + 1) * length, rows * cells), row = columns * cells;
        Items items;
        items.left = exists && begin < end ? (end - begin + size - 1) / size : 0;
        items.cells = cells;
        if (items.left == 0) return items;
        items.cell = begin % cells;
        items.at = column / columns * rows * row + column % columns * cells + begin / cells * row + items.cell;
        items.step_cells = size % cells;
        items.step = size / cells * row + items.step_cells;
        items.to_next_row = row - cells;
        return items;
    }

    template <class State>
    __device__ State scan(const real *x, Items items) const {
        State state;
        while (items.left >= AHEAD) {
            real ahead[AHEAD];
#pragma unroll
            for (u32 i = 0; i < AHEAD; i++, items.next()) ahead[i] = x[items.at];
#pragma unroll
            for (u32 i = 0; i < AHEAD; i++) state.add(ahead[i]);
        }
        for (; items.left; items.next()) state.add(x[items.at]);
        return merged(state);
    }

    // What the whole team knows; the whole block takes part.
    template <class State>
    __device__ State merged(State state) const {
        __shared__ __align__(16) char memory[THREADS * sizeof(State)];
        State *states = (State *)memory;
        u32 apart = size / 2 * stride;
        for (; apart >= stride && apart >= 32; apart /= 2) {
            __syncthreads();
            states[threadIdx.x] = state;
            __syncthreads();
            state.merge(states[threadIdx.x ^ apart]);
        }
        for (; apart >= stride && apart; apart /= 2) {
            State other = state;
#pragma unroll
            for (u32 i = 0; i < sizeof(State) / sizeof(real); i++)
                ((real *)&other)[i] = __shfl_xor_sync(ALL, ((const real *)&state)[i], apart);
            state.merge(other);
        }
        return state;
    }

    // What is known of a column, from the states of its slices where it has several.
    template <class State>
    __device__ State whole(const real *x, const State *parts, u32 slices, i64 n_columns) const {
        if (slices == 1) return scan<State>(x, items(0, 1));
        State state;
        if (exists)
            for (u32 slice = member; slice < slices; slice += size) state.merge(parts[slice * n_columns + column]);
        return merged(state);
    }
};

template <class State>
__device__ void sum_up(const real *x, State *parts, i64 n_columns, const Team &team) {
    State state = team.scan<State>(x, team.items(blockIdx.y, gridDim.y));
    if (team.first) parts[blockIdx.y * n_columns + team.column] = state;
}

extern "C" __global__ void __launch_bounds__(256) sum_exp(const real *x, SumExp *parts, i64 n_columns, i64 columns,
                                                          i64 rows, i64 cells, u32 size, u32 stride) {
    sum_up(x, parts, n_columns, Team(n_columns, columns, rows, cells, size, stride));
}

extern "C" __global__ void __launch_bounds__(256) moments(const real *x, Moments *parts, i64 n_columns, i64 columns,
                                                          i64 rows, i64 cells, u32 size, u32 stride) {
    sum_up(x, parts, n_columns, Team(n_columns, columns, rows, cells, size, stride));
}

extern "C" __global__ void __launch_bounds__(256) logsumexp(const real *x, const SumExp *parts, u32 slices, real *y,
                                                            i64 n_columns, i64 columns, i64 rows, i64 cells, u32 size,
                                                            u32 stride) {
    Team team(n_columns, columns, rows, cells, size, stride);
    SumExp state = team.whole(x, parts, slices, n_columns);
    if (team.first) y[team.column] = state.peak + log(state.sum);
}

extern "C" __global__ void __launch_bounds__(256) softmax(const real *x, const SumExp *parts, u32 slices, real *y,
                                                          i64 n_columns, i64 columns, i64 rows, i64 cells, u32 size,
                                                          u32 stride) {
    Team team(n_columns, columns, rows, cells, size, stride);
    SumExp state = team.whole(x, parts, slices, n_columns);
    real factor = isinf(state.peak) ? infinity() - infinity() : 1 / state.sum;
    for (Items items = team.items(blockIdx.y, gridDim.y); items.left; items.next())
        y[items.at] = exp(x[items.at] - state.peak) * factor;
}

extern "C" __global__ void __launch_bounds__(256)
    batch_norm(const real *x, const Moments *parts, u32 slices, const real *gamma, const real *beta, real eps, real *y,
               real *means, real *variances, i64 n_columns, i64 columns, i64 rows, i64 cells, u32 size, u32 stride) {
    Team team(n_columns, columns, rows, cells, size, stride);
    Moments state = team.whole(x, parts, slices, n_columns);
    real mean = state.count ? state.mean : infinity() - infinity();
    real variance = state.squares / state.count;
    if (team.first && blockIdx.y == 0) {
        means[team.column] = mean;
        variances[team.column] = variance;
    }
    if (!team.exists) return;
    real factor = gamma[team.column] / sqrt(variance + eps), shift = beta[team.column];
    for (Items items = team.items(blockIdx.y, gridDim.y); items.left; items.next())
        y[items.at] = (x[items.at] - mean) * factor + shift;
}
