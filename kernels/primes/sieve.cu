// The segmented sieve of Eratosthenes on a bit for each number that 2, 3 and 5 do not divide.
//
// Bit b of word w stands for 120 * w + 30 * (b / 8) + residue(b % 8). For each of the eight residues r, a prime p has
// its multiples p * (30 * turn + r) on one bit of every p-th byte: crossing off is eight plain strides. A chunk is a
// run of words; a segment is the part of it that one block sieves in shared memory.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

constexpr u32 WORD = 120;
constexpr u32 SEGMENT = 10240;  // words; with the patterns just under the 48 KiB that every GPU gives a block
#define SMALL_PRIMES {7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61}
constexpr u32 PRESIEVED = 15;  // so many are sieved by patterns
constexpr u32 WIDE = 160;      // so many of the primes have a warp each for crossing off, the others a thread each
constexpr u32 PATTERNS = 491;  // the sum of the small primes
constexpr u32 RESIDUES = 1u << 1 | 1u << 7 | 1u << 11 | 1u << 13 | 1u << 17 | 1u << 19 | 1u << 23 | 1u << 29;
constexpr u32 ALL = 0xFFFFFFFF;

__device__ u32 residue(u32 i) { return 0x1D1713110D0B0701ull >> 8 * i & 0xFF; }

__device__ u32 residues_below(u32 x) { return __popc(RESIDUES & ((1u << x) - 1)); }

// The number that a bit of a word stands for, and how many bits of a word stand for numbers below x.
__device__ u32 offset(u32 bit) { return 30 * (bit / 8) + residue(bit % 8); }

__device__ u32 bits_below(u32 x) { return 8 * (x / 30) + residues_below(x % 30); }

// The multiples of p by numbers of one residue modulo 30, from byte `first` on: the first one's byte, counted from
// there, and the bit in each. The prime itself is left alone.
struct Stride {
    u32 at, bit;
    __device__ Stride(u32 p, u32 i, u64 first, u32 first_mod_p) {
        u32 factor = residue(i), product = p % 30 * factor, byte = p / 30 * factor + product / 30;
        bit = residues_below(product % 30);
        at = byte >= first_mod_p ? byte - first_mod_p : byte + (p - first_mod_p);
        if (i == 0 && first + at < p) at += p;
    }
};

__device__ void cross_off(u32 *words, u32 n_bytes, Stride stride, u32 step) {
    for (u32 at = stride.at; at < n_bytes; at += step) atomicAnd(&words[at / 4], ~(1u << 8 * (at % 4) + stride.bit));
}

__device__ void cross_off_all(u32 *words, u32 n_bytes, u32 p, u64 first, u32 first_mod_p) {
#pragma unroll 1
    for (u32 i = 0; i < 8; i++) cross_off(words, n_bytes, Stride(p, i, first, first_mod_p), p);
}

// A word of prime p's pattern: the bits that p does not divide, of the word with index j modulo p.
__device__ u32 pattern(u32 p, u32 j) {
    u32 word = ALL;
    for (u32 x = (p - WORD * j % p) % p; x < WORD; x += p)
        if (RESIDUES >> x % 30 & 1) word &= ~(1u << bits_below(x));
    return word;
}

// A thread makes a word of one pattern, all patterns in a row; phases say with which word of it each prime begins.
__device__ void build_patterns(u32 *patterns, u32 *phases, u64 first_word) {
    constexpr u32 PRIMES[] = SMALL_PRIMES;
    u32 i = 0, j = threadIdx.x;
    while (i < PRESIEVED && j >= PRIMES[i]) j -= PRIMES[i++];
    if (i < PRESIEVED) patterns[threadIdx.x] = pattern(PRIMES[i], j);
    if (threadIdx.x < PRESIEVED) phases[threadIdx.x] = first_word % PRIMES[threadIdx.x];
}

// Word w of a segment as the small primes leave it. Unrolled, since a remainder by a constant is cheap.
__device__ u32 presieved(u32 w, const u32 *patterns, const u32 *phases) {
    constexpr u32 PRIMES[] = SMALL_PRIMES;
    u32 word = ALL;
#pragma unroll
    for (u32 i = 0; i < PRESIEVED; i++) {
        word &= patterns[(phases[i] + w) % PRIMES[i]];
        patterns += PRIMES[i];
    }
    return word;
}

// The small primes themselves, in word 0.
__device__ u32 small_primes() {
    constexpr u32 PRIMES[] = SMALL_PRIMES;
    u32 word = 0;
    for (u32 p : PRIMES) word |= 1u << bits_below(p);
    return word;
}

// For each prime the remainder of a chunk's first byte.
extern "C" __global__ void remainders(const u32 *primes, u32 *result, u32 n_primes, u64 first_byte) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n_primes) result[i] = first_byte % primes[i];
}

// Marks the numbers that none of the primes divides, from head on and below tail, which are counted from the chunk's
// beginning. The primes ascend from 7, and those that may matter are below 2**24.
extern "C" __global__ void __launch_bounds__(512, 4) mark(u32 *words, u32 n_words, u64 first_word, const u32 *primes,
                                                          const u32 *remainders, u32 n_primes, i64 head, i64 tail) {
    __shared__ u32 segment[SEGMENT];
    __shared__ u32 patterns[PATTERNS];
    __shared__ u32 phases[PRESIEVED];
    __shared__ u32 queue;
    u32 start = blockIdx.x * SEGMENT;
    u32 size = min(SEGMENT, n_words - start);
    u64 first = first_word + start;
    u64 first_byte = 4 * first, end = WORD * (first + size);
    build_patterns(patterns, phases, first);
    if (threadIdx.x == 0) queue = WIDE;
    __syncthreads();
    for (u32 w = threadIdx.x; w < size; w += blockDim.x)
        segment[w] = presieved(w, patterns, phases) | (first + w == 0 ? small_primes() : 0);
    __syncthreads();

    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (u32 i = PRESIEVED + warp; i < min(n_primes, WIDE); i += blockDim.x / 32) {
        u32 p = primes[i];
        if ((u64)p * p >= end) break;
        Stride stride(p, lane % 8, first_byte, (remainders[i] + 4 * start) % p);
        stride.at += lane / 8 * p;
        cross_off(segment, 4 * size, stride, 4 * p);
    }
    for (;;) {
        u32 i = 0;
        if (lane == 0) i = atomicAdd(&queue, 32u);
        i = __shfl_sync(ALL, i, 0);
        if (i >= n_primes || (u64)primes[i] * primes[i] >= end) break;
        i += lane;
        if (i < n_primes) {
            u32 p = primes[i];
            if ((u64)p * p < end) cross_off_all(segment, 4 * size, p, first_byte, (remainders[i] + 4 * start) % p);
        }
    }
    __syncthreads();

    for (u32 w = threadIdx.x; w < size; w += blockDim.x) {
        i64 zero = (i64)WORD * (start + w);
        u32 word = segment[w];
        if (zero < head) word &= (u32)(-1ull << bits_below(min(head - zero, (i64)WORD)));
        if (zero + WORD > tail) word &= (u32)((1ull << bits_below(max(tail - zero, 0ll))) - 1);
        words[start + w] = word;
    }
}

// Crosses off the multiples of large primes, a thread each, in a whole chunk, which the second-level cache holds.
extern "C" __global__ void cross_large(u32 *words, u32 n_words, u64 first_word, const u32 *primes, u32 n_primes) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n_primes) return;
    u32 p = primes[i];
    if ((u64)p * p >= WORD * (first_word + n_words)) return;
    u64 first_byte = 4 * first_word;
    cross_off_all(words, 4 * n_words, p, first_byte, first_byte % p);
}

// Arithmetic modulo an odd n < 2**63 on a * 2**64 mod n in place of a (Montgomery 1985).
struct Montgomery {
    u64 n, inverse, one, square;
    __device__ explicit Montgomery(u64 n) : n(n), inverse(n) {
        for (int bits = 3; bits < 64; bits *= 2) inverse *= 2 - n * inverse;
        one = (0 - n) % n;
        square = one;
        for (int i = 0; i < 64; i++) square = square < n - square ? 2 * square : 2 * square - n;
    }
    __device__ u64 times(u64 a, u64 b) const {
        u64 high = __umul64hi(a, b), less = __umul64hi(a * b * inverse, n);
        return high < less ? high - less + n : high - less;
    }
};

// Strong probable prime tests to Jim Sinclair's seven bases, to all of which no composite below 2**64 is one (checked
// against Feitsma's list of the pseudoprimes to base 2). For an odd n beyond the bases.
__device__ bool is_prime(u64 n) {
    constexpr u32 BASES[7] = {2, 325, 9375, 28178, 450775, 9780504, 1795265022};
    Montgomery m(n);
    int twos = __ffsll(n - 1) - 1;
    u64 odd = n - 1 >> twos, minus_one = n - m.one;
#pragma unroll 1
    for (u32 i = 0; i < 7; i++) {
        u64 base = m.times(BASES[i], m.square), x = base;
        for (int bit = 62 - __clzll(odd); bit >= 0; bit--) {
            x = m.times(x, x);
            if (odd >> bit & 1) x = m.times(x, base);
        }
        bool passes = x == m.one || x == minus_one;
        for (int j = 1; j < twos && !passes; j++) {
            x = m.times(x, x);
            passes = x == minus_one;
        }
        if (!passes) return false;
    }
    return true;
}

// Keeps of the numbers marked, all above 2**31, the primes: a warp a word, a lane a number.
extern "C" __global__ void keep_primes(u32 *words, u32 n_words, u64 first_word) {
    u32 w = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (w >= n_words) return;
    bool prime = words[w] >> lane & 1 && is_prime(WORD * (first_word + w) + offset(lane));
    u32 kept = __ballot_sync(ALL, prime);
    if (lane == 0) words[w] = kept;
}

// Sum of what the bits of a word stand for, from binary digits: of a byte's index, and of half a residue, rounded down.
__device__ u32 offset_sum(u32 word) {
    u32 bytes = __popc(word & 0xFF00FF00) + 2 * __popc(word & 0xFFFF0000);
    u32 halves = __popc(word & 0x66666666) + 2 * __popc(word & 0xCACACACA);
    halves += 4 * __popc(word & 0x8C8C8C8C) + 8 * __popc(word & 0xF0F0F0F0);
    return 30 * bytes + 2 * halves + __popc(word);
}

// Counts the numbers marked in each segment. Adds to totals their count and the sum of their distances from the chunk's
// beginning.
extern "C" __global__ void tally(const u32 *words, u32 n_words, i64 *counts, u64 *totals) {
    __shared__ u64 warp_counts[32], warp_sums[32];
    u32 start = blockIdx.x * SEGMENT, stop = min(start + SEGMENT, n_words);
    u64 count = 0, sum = 0;
    for (u32 w = start + threadIdx.x; w < stop; w += blockDim.x) {
        u32 word = words[w], here = __popc(word);
        count += here;
        sum += (u64)WORD * w * here + offset_sum(word);
    }
    for (u32 delta = 16; delta; delta /= 2) {
        count += __shfl_down_sync(ALL, count, delta);
        sum += __shfl_down_sync(ALL, sum, delta);
    }
    if (threadIdx.x % 32 == 0) {
        warp_counts[threadIdx.x / 32] = count;
        warp_sums[threadIdx.x / 32] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (u32 warp = 1; warp < blockDim.x / 32; warp++) {
            count += warp_counts[warp];
            sum += warp_sums[warp];
        }
        counts[blockIdx.x] = count;
        atomicAdd(&totals[0], count);
        atomicAdd(&totals[1], sum);
    }
}

// Lists the numbers marked, those of segment i from primes[starts[i]] on.
template <class T>
__device__ void list(const u32 *words, u32 n_words, u64 first_word, const i64 *starts, T *primes) {
    constexpr u32 THREADS = 512;
    // No stretch of y numbers holds more than 2 * y / log(y) primes (Montgomery and Vaughan, 1973).
    __shared__ unsigned short offsets[11264];
    __shared__ u32 warp_counts[THREADS / 32];
    u32 start = blockIdx.x * SEGMENT, stop = min(start + SEGMENT, n_words);
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    primes += starts[blockIdx.x];
    for (u32 tile = start; tile < stop; tile += THREADS) {
        u32 word = tile + threadIdx.x < stop ? words[tile + threadIdx.x] : 0;
        u32 at = __popc(word);
        for (u32 delta = 1; delta < 32; delta *= 2) {
            u32 left = __shfl_up_sync(ALL, at, delta);
            if (lane >= delta) at += left;
        }
        if (lane == 31) warp_counts[warp] = at;
        at -= __popc(word);
        __syncthreads();
        u32 total = 0;
        for (u32 i = 0; i < THREADS / 32; i++) {
            if (i == warp) at += total;
            total += warp_counts[i];
        }
        for (; word; word &= word - 1) offsets[at++] = WORD * threadIdx.x + offset(__ffs(word) - 1);
        __syncthreads();
        for (u32 i = threadIdx.x; i < total; i += THREADS) primes[i] = WORD * (first_word + tile) + offsets[i];
        primes += total;
    }
}

extern "C" __global__ void __launch_bounds__(512) list_32(const u32 *words, u32 n_words, u64 first_word,
                                                          const i64 *starts, u32 *primes) {
    list(words, n_words, first_word, starts, primes);
}

extern "C" __global__ void __launch_bounds__(512) list_64(const u32 *words, u32 n_words, u64 first_word,
                                                          const i64 *starts, i64 *primes) {
    list(words, n_words, first_word, starts, primes);
}

// A byte for each number of the chunk, 16 a thread at a time: 1 where it is marked.
extern "C" __global__ void __launch_bounds__(256) indicate(const u32 *words, u32 n_words, unsigned char *result,
                                                           i64 size) {
    constexpr u32 ROUNDS = 8;
    __shared__ u32 spread[256];  // for each byte of bits, a bit for each of the 30 numbers
    u32 spreading = 0;
    for (u32 bit = 0; bit < 8; bit++) spreading |= (threadIdx.x >> bit & 1) << residue(bit);
    spread[threadIdx.x] = spreading;
    __syncthreads();
    const unsigned char *bytes = (const unsigned char *)words;
    u32 piece = blockIdx.x * ROUNDS * blockDim.x + threadIdx.x;
    for (u32 round = 0; round < ROUNDS; round++, piece += blockDim.x) {
        u32 first = 16 * piece, byte = first / 30;
        if (first >= size) return;
        u64 numbers = spread[bytes[byte]];
        if (byte + 1 < 4 * n_words) numbers |= (u64)spread[bytes[byte + 1]] << 30;
        u32 marked = numbers >> first % 30;
        if (first + 16 <= size) {
            auto four = [=](u32 shift) { return (marked >> shift & 15) * 0x204081 & 0x01010101; };
            ((uint4 *)result)[piece] = make_uint4(four(0), four(4), four(8), four(12));
        } else {
            for (u32 i = 0; first + i < size; i++) result[first + i] = marked >> i & 1;
        }
    }
}
