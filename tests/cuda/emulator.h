// CUDA's built-ins on a CPU: g++ compiles kernels against this header, emulator.cpp executes them.
//
// Rules for kernels:
//   * kernels are `extern "C" __global__ void name(...)`; their parameters are pointers and scalars
//   * `__shared__` stands at the start of a declaration within a function, and is never hidden in a macro
//   * a spin loop reads through `volatile` or an atomic, and need do no more: every branch may switch threads
//   * every thread of the block reaches every __syncthreads(), every lane named in a mask reaches the *_sync; a lane
//     that has returned or does not exist counts as missing, so full masks want blocks of 32, 64, ... threads
//   * blocks start in a random order, few at a time: a block may wait only for blocks that certainly started before it,
//     so a look-back takes its tile number from an atomic counter, never from blockIdx
//   * no inline PTX, textures, cooperative groups or dynamic parallelism
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <type_traits>
#include <utility>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

namespace emulated {

struct Thread {
    dim3 thread_index, block_index, block_size, grid_size;
};

// The scheduler, in emulator.cpp.
Thread &self() __attribute__((const));  // the running thread
void pause();                           // here another thread may well run
void hold();                            // from here no other thread runs ...
void release();                         // ... until here
void barrier(int line, int predicate);  // waits for the whole block
unsigned barrier_count();               // how many predicates held at the last barrier
unsigned lane();
const uint64_t *exchange(unsigned mask, uint64_t value,
                         const char *op);    // waits for the mask's lanes, returns their values
void *shared(const void *key, size_t size);  // the block's own copy of a shared variable
void *dynamic_shared();
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The Python side rewrites `__shared__ T name[N];` to `T (&name)[N] = shared_variable<T[N]>([] {});`: the type of the
// lambda is unique to the declaration (and to the instance of a template that it stands in).
template <class T, class Declaration>
T &shared_variable(Declaration) {
    static char key;
    return *static_cast<T *>(shared(&key, sizeof(T)));
}

template <class T, class F>
T atomic(T *address, F update) {
    static_assert(sizeof(T) >= 4 || std::is_same_v<T, unsigned short>, "CUDA has no atomics on bytes");
    pause();
    hold();
    T old = *address;
    *address = update(old);
    release();
    return old;
}

template <class T>
const uint64_t *exchange_value(unsigned mask, T value, const char *op) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles carry 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return exchange(mask, bits, op);
}

template <class T>
T from_bits(uint64_t bits) {
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// The value of lane `source` where it lies in the caller's segment of `width` lanes, else the caller's own.
template <class T>
T shuffle(unsigned mask, T value, int width, const char *op, int (*source)(int, int, int), int operand) {
    if (width < 1 || width > 32 || (width & (width - 1))) fail("%s: width %d is no power of two up to 32", op, width);
    const uint64_t *lanes = exchange_value(mask, value, op);
    int me = lane(), first = me & -width, other = first + source(me - first, operand, width);
    return other >= first && other < first + width ? from_bits<T>(lanes[other]) : value;
}

template <class T, class F>
T reduce(unsigned mask, T value, const char *op, F combine) {
    const uint64_t *lanes = exchange_value(mask, value, op);
    bool first = true;
    T total{};
    for (int i = 0; i < 32; i++)
        if (mask >> i & 1) {
            T next = from_bits<T>(lanes[i]);
            total = first ? next : combine(total, next);
            first = false;
        }
    return total;
}

inline unsigned ballot(unsigned mask, bool predicate, const char *op) {
    const uint64_t *lanes = exchange(mask, predicate, op);
    unsigned votes = 0;
    for (int i = 0; i < 32; i++) votes |= unsigned(mask >> i & 1 && lanes[i]) << i;
    return votes;
}

// One entry of the table of kernels: its name, its parameters as letters and sizes ("*u8" is unsigned long long *), and
// a call with the arguments unpacked from 8-byte slots.
template <class T>
void spell(char *out) {
    using Plain = std::remove_cv_t<T>;
    if constexpr (std::is_pointer_v<Plain>) {
        *out = '*';
        spell<std::remove_pointer_t<Plain>>(out + 1);
    } else if constexpr (std::is_arithmetic_v<Plain>) {
        constexpr char kind = std::is_same_v<Plain, bool>       ? 'b'
                              : std::is_floating_point_v<Plain> ? 'f'
                              : std::is_signed_v<Plain>         ? 'i'
                                                                : 'u';
        snprintf(out, 4, "%c%d", kind, int(sizeof(Plain)));
    } else {
        strcpy(out, "?");
    }
}

struct Kernel {
    const char *name;
    const void *function;
    void (*call)(const void *function, const uint64_t *slots);
    unsigned max_threads;
    Kernel *next;
    char parameters[512] = "";
    static inline Kernel *all = nullptr;

    template <class... P>
    Kernel(const char *name, void (*kernel)(P...), unsigned max_threads)
        : name(name), function((const void *)kernel), max_threads(max_threads), next(all) {
        all = this;
        call = [](const void *function, const uint64_t *slots) {
            unpack<P...>(function, slots, std::index_sequence_for<P...>());
        };
        ((strcat(parameters, " "), spell<P>(parameters + strlen(parameters))), ...);
    }

    template <class... P, size_t... I>
    static void unpack(const void *function, const uint64_t *slots, std::index_sequence<I...>) {
        ((void (*)(P...))function)(from_bits<std::remove_cv_t<P>>(slots[I])...);
    }
};

}  // namespace emulated

// ---- what a kernel sees ----

#define __global__
#define __device__
#define __host__
#define __constant__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __forceinline__ inline
#define __restrict__ __restrict
#define __CUDA_ARCH__ 800

#define threadIdx (emulated::self().thread_index)
#define blockIdx (emulated::self().block_index)
#define blockDim (emulated::self().block_size)
#define gridDim (emulated::self().grid_size)
constexpr int warpSize = 32;

#define EMULATED_VECTOR(T, N)                                                  \
    struct alignas(sizeof(T) * 2) N##2 { T x, y; };                            \
    struct alignas(sizeof(T) < 8 ? sizeof(T) * 4 : 16) N##4 { T x, y, z, w; }; \
    inline N##2 make_##N##2(T x, T y) { return {x, y}; }                       \
    inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATED_VECTOR(int, int)
EMULATED_VECTOR(unsigned, uint)
EMULATED_VECTOR(long long, longlong)
EMULATED_VECTOR(unsigned long long, ulonglong)
EMULATED_VECTOR(float, float)
EMULATED_VECTOR(double, double)
EMULATED_VECTOR(unsigned char, uchar)

// Barriers, fences, waiting. Memory is in order here, and a fence only a place to switch threads: review fences by eye.
inline void __syncthreads(int line = __builtin_LINE()) { emulated::barrier(line, 0); }
inline int __syncthreads_count(int predicate, int line = __builtin_LINE()) {
    emulated::barrier(line, predicate != 0);
    return emulated::barrier_count();
}
inline int __syncthreads_or(int predicate, int line = __builtin_LINE()) {
    return __syncthreads_count(predicate, line) > 0;
}
inline int __syncthreads_and(int predicate, int line = __builtin_LINE()) {
    return !__syncthreads_count(!predicate, line);
}
inline void __syncwarp(unsigned mask = ~0u) { emulated::exchange(mask, 0, "__syncwarp"); }
inline void __threadfence() { emulated::pause(); }
inline void __threadfence_block() { emulated::pause(); }
inline void __threadfence_system() { emulated::pause(); }
inline void __nanosleep(unsigned) { emulated::pause(); }
inline void __trap() { emulated::fail("__trap()"); }

// Between the lanes of a warp.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    return emulated::shuffle(mask, value, width, "__shfl_sync", [](int, int s, int w) { return s & (w - 1); }, source);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    return emulated::shuffle(mask, value, width, "__shfl_up_sync", [](int me, int d, int) { return me - d; }, delta);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    return emulated::shuffle(mask, value, width, "__shfl_down_sync", [](int me, int d, int) { return me + d; }, delta);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    return emulated::shuffle(mask, value, width, "__shfl_xor_sync", [](int me, int b, int) { return me ^ b; }, bits);
}
inline unsigned __ballot_sync(unsigned mask, int p) { return emulated::ballot(mask, p, "__ballot_sync"); }
inline int __any_sync(unsigned mask, int p) { return emulated::ballot(mask, p, "__any_sync") != 0; }
inline int __all_sync(unsigned mask, int p) { return emulated::ballot(mask, p, "__all_sync") == mask; }
inline unsigned __activemask() { return ~0u; }
template <class T>
unsigned __match_any_sync(unsigned mask, T value) {
    const uint64_t *lanes = emulated::exchange_value(mask, value, "__match_any_sync");
    unsigned equal = 0;
    for (int i = 0; i < 32; i++) equal |= unsigned(mask >> i & 1 && lanes[i] == lanes[emulated::lane()]) << i;
    return equal;
}
#define EMULATED_REDUCE(NAME, RESULT)                                                      \
    template <class T>                                                                     \
    T NAME(unsigned mask, T value) {                                                       \
        return emulated::reduce(mask, value, #NAME, [](T a, T b) -> T { return RESULT; }); \
    }
EMULATED_REDUCE(__reduce_add_sync, a + b)
EMULATED_REDUCE(__reduce_min_sync, a < b ? a : b)
EMULATED_REDUCE(__reduce_max_sync, a > b ? a : b)
EMULATED_REDUCE(__reduce_or_sync, a | b)
EMULATED_REDUCE(__reduce_and_sync, a & b)
EMULATED_REDUCE(__reduce_xor_sync, a ^ b)

// Atomics, also in their _block and _system forms.
#define EMULATED_ATOMIC(NAME, RESULT)                          \
    template <class T>                                         \
    T NAME(T *address, std::common_type_t<T> value) {          \
        return emulated::atomic(address, [=](T old) -> T {     \
            (void)old;                                         \
            return RESULT;                                     \
        });                                                    \
    }                                                          \
    template <class T>                                         \
    T NAME##_block(T *address, std::common_type_t<T> value) {  \
        return NAME(address, value);                           \
    }                                                          \
    template <class T>                                         \
    T NAME##_system(T *address, std::common_type_t<T> value) { \
        return NAME(address, value);                           \
    }
EMULATED_ATOMIC(atomicAdd, old + value)
EMULATED_ATOMIC(atomicSub, old - value)
EMULATED_ATOMIC(atomicMax, old > value ? old : value)
EMULATED_ATOMIC(atomicMin, old < value ? old : value)
EMULATED_ATOMIC(atomicOr, old | value)
EMULATED_ATOMIC(atomicAnd, old & value)
EMULATED_ATOMIC(atomicXor, old ^ value)
EMULATED_ATOMIC(atomicExch, value)
EMULATED_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
EMULATED_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1)
template <class T>
T atomicCAS(T *address, std::common_type_t<T> expected, std::common_type_t<T> value) {
    return emulated::atomic(address, [=](T old) -> T { return old == expected ? value : old; });
}

// Bits and integers.
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline unsigned long long __brevll(unsigned long long x) {
    unsigned long long reversed = 0;
    for (int i = 0; i < 64; i++) reversed |= (x >> i & 1) << (63 - i);
    return reversed;
}
inline unsigned __brev(unsigned x) { return __brevll(x) >> 32; }
inline int __mulhi(int a, int b) { return (long long)a * b >> 32; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
inline long long __mul64hi(long long a, long long b) { return (__int128)a * b >> 64; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned n) {
    return ((unsigned long long)high << 32 | low) << (n & 31) >> 32;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned n) {
    return ((unsigned long long)high << 32 | low) >> (n & 31);
}
template <class A, class B>
std::common_type_t<A, B> min(A a, B b) {
    std::common_type_t<A, B> x = a, y = b;
    return y < x ? y : x;
}
template <class A, class B>
std::common_type_t<A, B> max(A a, B b) {
    std::common_type_t<A, B> x = a, y = b;
    return x < y ? y : x;
}

// Loads and stores with a cache hint. Those that pass by the first-level cache may poll.
#define EMULATED_LOAD(NAME, QUALIFIER) \
    template <class T>                 \
    T NAME(const T *p) {               \
        return *(QUALIFIER T *)p;      \
    }
EMULATED_LOAD(__ldg, const)
EMULATED_LOAD(__ldca, const)
EMULATED_LOAD(__ldcs, const)
EMULATED_LOAD(__ldcg, const volatile)
EMULATED_LOAD(__ldcv, const volatile)
#define EMULATED_STORE(NAME)                           \
    template <class T>                                 \
    void NAME(T *p, std::common_type_t<T> value) {     \
        *p = value;                                    \
    }
EMULATED_STORE(__stcg)
EMULATED_STORE(__stcs)
EMULATED_STORE(__stwt)

// Floating point: the fast and the rounded forms are plain ones here, so results may differ from a GPU's in the last
// bits.
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1 / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline double __dsqrt_rn(double x) { return sqrt(x); }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
#define EMULATED_ROUNDED(PREFIX, T)                     \
    inline T PREFIX##add_rn(T a, T b) { return a + b; } \
    inline T PREFIX##sub_rn(T a, T b) { return a - b; } \
    inline T PREFIX##mul_rn(T a, T b) { return a * b; } \
    inline T PREFIX##div_rn(T a, T b) { return a / b; }
EMULATED_ROUNDED(__f, float)
EMULATED_ROUNDED(__d, double)
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline double __ull2double_rn(unsigned long long x) { return x; }
inline double __ll2double_rn(long long x) { return x; }
inline unsigned long long __double2ull_rz(double x) { return x; }
inline long long __double2ll_rz(double x) { return x; }
inline long long __double_as_longlong(double x) {
    long long bits;
    memcpy(&bits, &x, 8);
    return bits;
}
inline double __longlong_as_double(long long x) { return emulated::from_bits<double>(x); }
inline int __float_as_int(float x) {
    int bits;
    memcpy(&bits, &x, 4);
    return bits;
}
inline unsigned __float_as_uint(float x) { return __float_as_int(x); }
inline float __int_as_float(int bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
inline float __uint_as_float(unsigned bits) { return __int_as_float(bits); }
