// Counts and sums of primes up to n by a sweep over the values n / k (Lucy_Hedgehog 2012, after Legendre, Meissel).
//
// For the values v of floor(n / k), F(v) is how many numbers up to v the sieve of Eratosthenes has left so far, or
// their sum; 1 is counted in, and 2, 3 and 5 are left out. Sieving by p takes from F(v) all whose least factor p is:
//     F(v) -= p ** e * (F(v / p) - F(p - 1))  for v >= p * p,  e = 0 for counts, 1 for sums.
// F(v) changes only at numbers prime to 30, and n / k / p is n / (k * p): so both k and v need only be prime to 30.
// With r = floor(sqrt(n)), values[i] is F(n / k) for the i-th such k <= r, and values[size + i] is F(v) for the i-th
// such v <= r.

typedef unsigned int u32;
typedef unsigned long long u64;

constexpr u32 RESIDUES = 1u << 1 | 1u << 7 | 1u << 11 | 1u << 13 | 1u << 17 | 1u << 19 | 1u << 23 | 1u << 29;
constexpr u32 ALL = 0xFFFFFFFF;

// How many numbers up to x are prime to 30, and the i-th of them, from 0 on.
template <class Integer>
__device__ Integer rank(Integer x) { return x / 30 * 8 + __popc(RESIDUES & ((2u << (u32)(x % 30)) - 1)); }

__device__ u32 number(u32 i) { return i / 8 * 30 + (0x1D1713110D0B0701ull >> 8 * (i % 8) & 0xFF); }

// A count: 64 bits. A sum: 128 bits, since the numbers up to 2**63 sum up to nearly 2**125.
struct Count {
    u64 low;
    static __device__ Count up_to(u64 x) { return {rank(x)}; }
    __device__ Count operator-(Count other) const { return {low - other.low}; }
    __device__ Count operator+(Count other) const { return {low + other.low}; }
    __device__ Count weighted(u32) const { return *this; }
    __device__ Count shuffled(u32 delta) const { return {__shfl_down_sync(ALL, low, delta)}; }
    __device__ void add_to(Count *total) const { atomicAdd(&total->low, low); }
};

struct __align__(16) Sum {
    u64 low, high;
    static __device__ Sum product(u64 a, u64 b) { return {a * b, __umul64hi(a, b)}; }
    static __device__ Sum up_to(u64 x) {
        u64 turns = x / 30;
        u32 rest = x % 30, in_rest = 0;
        for (u32 i = 0; i < 8 && number(i) <= rest; i++) in_rest += number(i);
        return product(120 * turns, turns) + product(30 * turns, rank(rest)) + Sum{in_rest, 0};
    }
    __device__ Sum operator-(Sum other) const { return {low - other.low, high - other.high - (low < other.low)}; }
    __device__ Sum operator+(Sum other) const { return {low + other.low, high + other.high + (low + other.low < low)}; }
    __device__ Sum weighted(u32 p) const { return {low * p, high * p + __umul64hi(low, p)}; }
    __device__ Sum shuffled(u32 delta) const {
        return {__shfl_down_sync(ALL, low, delta), __shfl_down_sync(ALL, high, delta)};
    }
    // Whoever makes the low word wrap carries.
    __device__ void add_to(Sum *total) const {
        u64 before = atomicAdd(&total->low, low);
        atomicAdd(&total->high, high + (before + low < before));
    }
};

// A value: n / k if k is not 0, else v.
struct Place {
    u32 k, v;
};

template <class T>
struct Values {
    const T *values;
    u32 size;
    u64 n;
    u32 r;
    __device__ T operator[](Place place) const {
        return place.k ? values[rank(place.k) - 1] : values[size + rank(place.v) - 1];
    }
    __device__ Place quotient(Place place, u32 p) const {
        if (place.k == 0) return {0, place.v / p};
        u64 k = (u64)place.k * p;
        return k <= r ? Place{(u32)k, 0} : Place{0, (u32)(n / k)};
    }
    // F at a place, sieved by the first few primes of a launch; 0 is none. Only for v <= r can p * p exceed v.
    template <u32 few>
    __device__ T sieved(Place place, const u32 *primes) const {
        if constexpr (few == 0) return (*this)[place];
        else {
            u32 p = primes[few - 1];
            T left = sieved<few - 1>(place, primes);
            if (p == 0 || (place.k == 0 && place.v / p < p)) return left;
            return left - (sieved<few - 1>(quotient(place, p), primes) - (*this)[{0, p - 1}]).weighted(p);
        }
    }
};

template <class T>
__device__ void begin(T *values, u32 size, u64 n) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < size) {
        values[i] = T::up_to(n / number(i));
        values[size + i] = T::up_to(number(i));
    }
}

// Sieves by three primes, from one copy of the values to the other, where so many of the v <= r are final already.
template <class T>
__device__ void sieve(Values<T> f, T *sieved, u32 final, u32 p, u32 q, u32 s) {
    const u32 primes[] = {p, q, s};
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= f.size) i += final;
    if (i >= 2 * f.size) return;
    Place place = i < f.size ? Place{number(i), 0} : Place{0, number(i - f.size)};
    sieved[i] = f.template sieved<3>(place, primes);
}

// Sieves F(n) by all primes p from primes[first] to r at once. Beyond the fourth root of n, F(v) is final for v <= r,
// and n / (p * q) <= r; so what F(n / p) is when p's turn comes follows from sieving it by the primes q < p in turn.
// Adds F(n) to total[0], and what there is to take from it to total[1]. A warp for each p, a lane for each q.
template <class T>
__device__ void finish(Values<T> f, const u32 *primes, u32 n_primes, u32 first, T *total) {
    u32 lane = threadIdx.x % 32, warps = gridDim.x * blockDim.x / 32;
    T sum{};
    for (u32 i = first + (blockIdx.x * blockDim.x + threadIdx.x) / 32; i < n_primes; i += warps) {
        u32 p = primes[i];
        if (p > f.r) break;
        u64 m = f.n / p;
        T left{};
        if (lane == 0) left = f[{p, 0}] - f[{0, p - 1}];
        for (u32 j = first + lane; j < i; j += 32) {
            u32 q = primes[j];
            if ((u64)q * q > m) break;
            left = left - (f[{0, (u32)(m / q)}] - f[{0, q - 1}]).weighted(q);
        }
        sum = sum + left.weighted(p);
    }
    for (u32 delta = 16; delta; delta /= 2) sum = sum + sum.shuffled(delta);
    if (lane == 0) sum.add_to(&total[1]);
    if (blockIdx.x == 0 && threadIdx.x == 0) f[{1, 0}].add_to(&total[0]);
}

extern "C" __global__ void begin_count(Count *values, u32 size, u64 n) { begin(values, size, n); }

extern "C" __global__ void sieve_count(const Count *values, u32 size, u64 n, u32 r, Count *sieved, u32 final, u32 p,
                                       u32 q, u32 s) {
    sieve(Values<Count>{values, size, n, r}, sieved, final, p, q, s);
}

extern "C" __global__ void finish_count(const Count *values, u32 size, u64 n, u32 r, const u32 *primes, u32 n_primes,
                                        u32 first, Count *total) {
    finish(Values<Count>{values, size, n, r}, primes, n_primes, first, total);
}

extern "C" __global__ void begin_sum(Sum *values, u32 size, u64 n) { begin(values, size, n); }

extern "C" __global__ void sieve_sum(const Sum *values, u32 size, u64 n, u32 r, Sum *sieved, u32 final, u32 p,
                                     u32 q, u32 s) {
    sieve(Values<Sum>{values, size, n, r}, sieved, final, p, q, s);
}

extern "C" __global__ void finish_sum(const Sum *values, u32 size, u64 n, u32 r, const u32 *primes, u32 n_primes,
                                      u32 first, Sum *total) {
    finish(Values<Sum>{values, size, n, r}, primes, n_primes, first, total);
}
