// Linear recurrences h[s] = a[s] * h[s - 1] + b[s] in one pass over memory, with a decoupled look-back (D. Merrill and
// M. Garland, "Single-pass parallel prefix scan with decoupled look-back", NVIDIA technical report NVR-2016-002, 2016).
//
// A column is a feature of a sequence. A block takes some columns and a tile of their steps; its threads are groups of
// one thread a column, and a thread keeps consecutive steps of its column in registers. What each run of steps does to
// the state before it is a pair, h -> factor * h + sum; pairs are composed within the block, and told to later tiles
// until the state itself is known. Tiles are numbered in the order in which blocks start, so that those before a tile
// are at work or done.
//
// Products of factors may overflow where states do not, and infinity times 0 is NaN: where a number of a tile's pairs or
// its state is not finite, the tile goes by the definition, group after group, and tells no pair but only the state.
#ifndef REAL
#define REAL float
#endif

typedef REAL real;
typedef unsigned int u32;
typedef long long i64;

constexpr u32 THREADS = 256;
constexpr u32 WARP = 32;
constexpr u32 ALL = 0xFFFFFFFF;

enum Known : u32 { NOTHING, PAIR, STATE };     // of a tile
enum Kind : u32 { PLAIN, CONVEX, ADJOINT };  // of recurrence

struct __align__(2 * sizeof(real)) Complex {
    real re, im;
};

__device__ Complex operator+(Complex x, Complex y) { return {x.re + y.re, x.im + y.im}; }
__device__ Complex operator-(Complex x, Complex y) { return {x.re - y.re, x.im - y.im}; }
__device__ Complex operator*(Complex x, Complex y) {
    return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
}
__device__ Complex conjugate(Complex x) { return {x.re, -x.im}; }
__device__ real conjugate(real x) { return x; }
__device__ bool is_finite(real x) { return isfinite(x); }
__device__ bool is_finite(Complex x) { return isfinite(x.re) && isfinite(x.im); }

__device__ i64 quotient(i64 a, i64 b) { return (a | b) >> 32 ? a / b : (u32)a / (u32)b; }  // the latter is far quicker

template <class T>
struct Pair {
    T factor, sum;
    __device__ T operator()(T h) const { return factor * h + sum; }
    __device__ Pair after(Pair before) const { return {factor * before.factor, (*this)(before.sum)}; }
};

struct Column {
    i64 number, batch, feature, length;
};

// Where in an array the items of a column are by their steps, of which it has those from `begin` to before `end`.
struct Walk {
    i64 start, stride, begin, end;
    __device__ i64 operator[](i64 step) const { return start + step * stride; }
    __device__ bool has(i64 step) const { return begin <= step && step < end; }
};

template <class T>
struct Scan {
    static constexpr u32 STEPS = 64 / sizeof(T);  // of a thread

    i64 time, features, columns;
    u32 width, groups;  // of a block: columns, and groups of threads
    bool reverse, staged;
    const i64 *lengths;
    u32 tile, strip;  // which steps, which columns

    __device__ u32 group() const { return threadIdx.x / width; }
    __device__ bool idle() const { return group() >= groups; }
    __device__ i64 begin_of_tile() const { return (i64)tile * groups * STEPS; }
    __device__ i64 begin() const { return begin_of_tile() + group() * STEPS; }

    // The number of a column that is none of the series is not below `columns`.
    __device__ Column column(u32 i) const {
        i64 number = (i64)strip * width + i, batch = quotient(number, features);
        i64 length = number >= columns ? 0 : lengths ? lengths[batch] : time;
        return {number, batch, number - batch * features, length};
    }
    __device__ Column mine() const { return column(threadIdx.x % width); }

    // Of an array of any strides, whose items belong to so many steps later than their own.
    __device__ Walk along(const Column &of, i64 to_batch, i64 to_time, i64 to_feature, i64 later) const {
        i64 start = of.batch * to_batch + of.feature * to_feature, stride = reverse ? -to_time : to_time;
        if (reverse) start += (of.length - 1) * to_time;
        return {start - later * stride, stride, later, of.length + later};
    }
    __device__ Walk along(const Column &of, i64 later = 0) const {
        return along(of, time * features, features, 1, later);
    }

    // Calls work(column, step, place in `stage`) for all steps of the tile, neighbours in memory by neighbouring threads.
    template <class Work>
    __device__ void each(Work work) const {
        for (u32 i = threadIdx.x; i < groups * STEPS * width; i += THREADS)
            work(column(i % width), begin_of_tile() + i / width, i + i / WARP);
    }
    __device__ u32 staging(u32 i) const {
        u32 place = (group() * STEPS + i) * width + threadIdx.x % width;
        return place + place / WARP;  // so that threads that are far apart do not meet in one bank
    }

    // A thread's steps of a series, `beyond` where walk(column) has none; few features go through shared memory.
    template <class Walker>
    __device__ void load(T (&items)[STEPS], const T *series, Walker walk, T beyond, T *stage) const {
        if (staged) {
            __syncthreads();
            each([&](const Column &of, i64 step, u32 place) {
                Walk steps = walk(of);
                stage[place] = steps.has(step) ? series[steps[step]] : beyond;
            });
            __syncthreads();
#pragma unroll
            for (u32 i = 0; i < STEPS; i++) items[i] = idle() ? beyond : stage[staging(i)];
        } else {
            Walk steps = walk(mine());
#pragma unroll
            for (u32 i = 0; i < STEPS; i++)
                items[i] = !idle() && steps.has(begin() + i) ? series[steps[begin() + i]] : beyond;
        }
    }
    __device__ void put(T *series, const Column &of, i64 step, T item) const {
        if (step < of.length)
            series[along(of)[step]] = item;
        else if (of.number < columns && step < time)
            series[(of.batch * time + step) * features + of.feature] = T{};
    }
    __device__ void store(T *series, const T (&items)[STEPS], T *stage) const {
        if (staged) {
            __syncthreads();
#pragma unroll
            for (u32 i = 0; i < STEPS; i++)
                if (!idle()) stage[staging(i)] = items[i];
            __syncthreads();
            each([&](const Column &of, i64 step, u32 place) { put(series, of, step, stage[place]); });
        } else if (!idle()) {
            Column of = mine();
#pragma unroll
            for (u32 i = 0; i < STEPS; i++) put(series, of, begin() + i, items[i]);
        }
    }
};

// What tiles tell those after them, for each column of a strip.
template <class T>
struct Board {
    volatile u32 *known;
    Pair<T> *pairs;
    T *states;
    u32 strips, strip, width;

    __device__ volatile u32 *of(u32 tile) const { return known + tile * strips + strip; }
    __device__ i64 slot(u32 tile, u32 column) const { return ((i64)tile * strips + strip) * width + column; }

    // After a warp has written to the slots of its tile.
    __device__ void tell(u32 tile, Known what) const {
        __threadfence();
        __syncwarp();
        if (threadIdx.x % WARP == 0) *of(tile) = what;
    }
    // The last tile up to this one before which the state is known, while those from there to this one have told pairs.
    __device__ u32 after_a_state(u32 tile) const {
        u32 lane = threadIdx.x % WARP;
        for (u32 end = tile;; end -= WARP) {
            u32 states, missing;
            do {
                u32 found = lane < end ? *of(end - 1 - lane) : STATE;
                states = __ballot_sync(ALL, found == STATE);
                missing = __ballot_sync(ALL, found == NOTHING);
            } while (missing & ~states & (states - 1));  // nearer than the nearest state
            if (states == 0) continue;
            __threadfence();
            return end - (__ffs(states) - 1);
        }
    }
    // The states before a tile, by one warp.
    __device__ void look_back(u32 tile, const T *initial, i64 columns, T *carry) const {
        u32 from = after_a_state(tile), lane = threadIdx.x % WARP;
        bool finite = true;
        for (u32 i = lane; i < width; i += WARP) {
            i64 number = (i64)strip * width + i;
            T h = T{};
            if (from)
                h = states[slot(from - 1, i)];
            else if (initial && number < columns)
                h = initial[number];
#pragma unroll 4
            for (u32 j = from; j < tile; j++) h = pairs[slot(j, i)](h);
            carry[i] = h;
            finite &= is_finite(h);
        }
        if (__all_sync(ALL, finite) || from == tile) return;
        while (*of(tile - 1) != STATE) {}
        __threadfence();
        for (u32 i = lane; i < width; i += WARP) carry[i] = states[slot(tile - 1, i)];
    }
};

// PLAIN: as it stands above. CONVEX: a is the share f of the new, h[s] = (1 - f[s]) * h[s - 1] + f[s] * b[s]; `second`
// is other * h. ADJOINT: the factor of a step is the conjugate of that of the step before, and the last step is followed
// by one without an input; `second` is the conjugate of what `other` is at the next step, or after the last one `after`,
// times h. Without a length, a step leaves the state as it is.
template <class T>
__device__ void run(const T *a, i64 a_batch, i64 a_time, i64 a_feature, const T *b, const T *initial,
                    const i64 *lengths, const T *other, const T *after, T *result, T *second, T *final, u32 *known,
                    Pair<T> *told, T *states, i64 time, i64 features, i64 columns, u32 width, u32 groups, u32 tiles,
                    u32 strips, u32 kind, bool reverse, bool staged) {
    constexpr u32 STEPS = Scan<T>::STEPS;
    __shared__ T stage[THREADS * STEPS / WARP * (WARP + 1)];
    __shared__ Pair<T> pairs[THREADS];
    __shared__ T carry[THREADS];
    __shared__ u32 number;
    u32 thread = threadIdx.x;
    if (thread == 0) number = atomicAdd(known, 1u);
    __syncthreads();
    u32 tile = number / strips, strip = number % strips;
    Scan<T> scan{time, features, columns, width, groups, reverse, staged, lengths, tile, strip};
    Board<T> board{known + 1, told, states, strips, strip, width};
    bool adjoint = kind == ADJOINT, last = tile + 1 == tiles;

    T factors[STEPS], h[STEPS];
    auto factor = [&](const Column &of) { return scan.along(of, a_batch, a_time, a_feature, adjoint); };
    scan.load(factors, a, factor, kind == CONVEX ? T{} : T{1}, stage);
    scan.load(h, b, [&](const Column &of) { return scan.along(of); }, T{}, stage);
    Pair<T> pair{T{1}, T{}};
#pragma unroll
    for (u32 i = 0; i < STEPS; i++) {
        if (kind == CONVEX) {
            h[i] = factors[i] * h[i];
            factors[i] = T{1} - factors[i];
        }
        if (adjoint) factors[i] = conjugate(factors[i]);
        pair = Pair<T>{factors[i], h[i]}.after(pair);
    }

    pairs[thread] = pair;
    for (u32 apart = width; apart < groups * width; apart *= 2) {
        __syncthreads();
        if (thread >= apart) pair = pair.after(pairs[thread - apart]);
        __syncthreads();
        pairs[thread] = pair;
    }
    bool finite = __syncthreads_and(scan.idle() || (is_finite(pair.factor) && is_finite(pair.sum)));
    const Pair<T> *of_tile = pairs + (groups - 1) * width;
    if (thread < WARP) {
        if (finite && tile > 0 && !last) {
            for (u32 i = thread; i < width; i += WARP) told[board.slot(tile, i)] = of_tile[i];
            board.tell(tile, PAIR);
        }
        board.look_back(tile, initial, columns, carry);
        for (u32 i = thread; i < width; i += WARP)
            finite &= is_finite(carry[i]) && is_finite(of_tile[i](carry[i]));
        finite = __all_sync(ALL, finite);
        if (finite && !last) {
            for (u32 i = thread; i < width; i += WARP) states[board.slot(tile, i)] = of_tile[i](carry[i]);
            board.tell(tile, STATE);
        }
    }
    finite = __syncthreads_and(finite);

    for (u32 turn = 0; turn < (finite ? 1 : groups); turn++) {
        if (!scan.idle() && (finite || scan.group() == turn)) {
            T state = carry[thread % width];
            if (finite && thread >= width) state = pairs[thread - width](state);
#pragma unroll
            for (u32 i = 0; i < STEPS; i++) h[i] = state = factors[i] * state + h[i];
            if (!finite) carry[thread % width] = state;
        }
        __syncthreads();
    }
    if (!finite && !last && thread < WARP) {
        for (u32 i = thread; i < width; i += WARP) states[board.slot(tile, i)] = carry[i];
        board.tell(tile, STATE);
    }
    Column mine = scan.mine();
    i64 begin = scan.begin(), end = adjoint ? mine.length : mine.length - 1;
    if (mine.number < columns && !scan.idle()) {
#pragma unroll
        for (u32 i = 0; i < STEPS; i++)
            if (begin + i == end) final[mine.number] = h[i];
        if (end < 0 && begin == 0) final[mine.number] = initial ? initial[mine.number] : T{};
    }

    scan.store(result, h, stage);
    if (!second) return;
    T others[STEPS];
    scan.load(others, other, [&](const Column &of) { return scan.along(of, adjoint ? -1 : 0); }, T{}, stage);
#pragma unroll
    for (u32 i = 0; i < STEPS; i++) {
        if (after && begin + i + 1 == mine.length) others[i] = after[mine.number];
        h[i] = (adjoint ? conjugate(others[i]) : others[i]) * h[i];
    }
    scan.store(second, h, stage);
}

extern "C" __global__ void __launch_bounds__(256) scan_real(
    const real *a, i64 a_batch, i64 a_time, i64 a_feature, const real *b, const real *initial,
    const i64 *lengths, const real *other, const real *after, real *result, real *second, real *final, u32 *known, Pair<real> *told,
    real *states, i64 time, i64 features, i64 columns, u32 width, u32 groups, u32 tiles, u32 strips, u32 kind,
    bool reverse, bool staged) {
    run(a, a_batch, a_time, a_feature, b, initial, lengths, other, after, result, second, final, known, told, states,
        time, features, columns, width, groups, tiles, strips, kind, reverse, staged);
}

extern "C" __global__ void __launch_bounds__(256) scan_complex(
    const Complex *a, i64 a_batch, i64 a_time, i64 a_feature, const Complex *b, const Complex *initial,
    const i64 *lengths, const Complex *other, const Complex *after, Complex *result, Complex *second, Complex *final, u32 *known, Pair<Complex> *told,
    Complex *states, i64 time, i64 features, i64 columns, u32 width, u32 groups, u32 tiles, u32 strips, u32 kind,
    bool reverse, bool staged) {
    run(a, a_batch, a_time, a_feature, b, initial, lengths, other, after, result, second, final, known, told, states,
        time, features, columns, width, groups, tiles, strips, kind, reverse, staged);
}
