"""The emulator accepts right kernels under every seed, and rejects each way of breaking them under one of a few."""

from __future__ import annotations

from pathlib import Path

import emulator
import numpy as np
import pytest
from emulator import EmulationError

pytestmark = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))

SAMPLES = Path(__file__).parent / "samples"
SEEDS = range(12)
NUMBERS = np.random.default_rng(0).integers(0, 1000, 5000).astype(np.uint32)


def reduction(source: str, **how: int) -> bool:
    blocks = -(-NUMBERS.size // 256)
    sums = np.zeros(blocks, np.uint32)
    emulator.run(source, "reduction", blocks, 256, (NUMBERS, sums, np.int32(NUMBERS.size)), patience=10**6, **how)
    return np.array_equal(sums, np.add.reduceat(NUMBERS, np.arange(0, NUMBERS.size, 256)))


def look_back(source: str, **how: int) -> bool:
    tiles = -(-NUMBERS.size // 64)
    sums = np.zeros_like(NUMBERS)
    next_tile, status, total, prefix = (np.zeros(n, np.uint32) for n in (1, tiles, tiles, tiles))
    arguments = (NUMBERS, sums, np.int32(NUMBERS.size), next_tile, status, total, prefix)
    emulator.run(source, "look_back", tiles, 64, arguments, patience=10**6, **how)
    return np.array_equal(sums, np.cumsum(NUMBERS, dtype=np.uint32))


def histogram(source: str, **how: int) -> bool:
    counts = np.zeros(40, np.uint32)
    emulator.run(source, "histogram", 10, (32, 4), (NUMBERS, counts, np.int32(NUMBERS.size)), shared=40 * 4, **how)
    return np.array_equal(counts, np.bincount(NUMBERS // 25, minlength=40))


CHECKS = {"reduction": reduction, "look_back": look_back, "histogram": histogram}


def source(name: str) -> str:
    return (SAMPLES / f"{name}.cu").read_text()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CHECKS)
def test_accepts(name, seed):
    assert CHECKS[name](source(name), seed=seed)


MUTANTS = {
    "barrier missing after the load": ("reduction", "0;\n    __syncthreads();", "0;"),
    "barrier missing in the loop": ("reduction", "width];\n        __syncthreads();", "width];"),
    "barrier reached by some": (
        "reduction",
        "if (threadIdx.x < width) partial[threadIdx.x] += partial[threadIdx.x + width];\n        __syncthreads();",
        "if (threadIdx.x < width) { partial[threadIdx.x] += partial[threadIdx.x + width]; __syncthreads(); }",
    ),
    "two barriers for one": (
        "reduction",
        "0;\n    __syncthreads();",
        "0;\n    if (threadIdx.x & 1)\n        __syncthreads();\n    else\n        __syncthreads();",
    ),
    "return before a barrier": (
        "reduction",
        "partial[threadIdx.x] = i < n ? in[i] : 0;",
        "if (i >= n) return; partial[threadIdx.x] = in[i];",
    ),
    "read past the end": ("reduction", "i < n ? in[i]", "i <= n ? in[i]"),
    "read far past the end": ("reduction", "i < n ? in[i]", "i <= n ? in[i + 2000]"),
    "read before the start": ("reduction", "in[i] : 0", "in[i - 1] : 0"),
    "write past the end": (
        "reduction",
        "if (threadIdx.x == 0) out",
        "if (threadIdx.x <= 1) out[blockIdx.x + threadIdx.x] = 0, out",
    ),
    "shared array too short": ("reduction", "unsigned partial[256]", "unsigned partial[255]"),
    "loop too long": ("reduction", "width >= 32", "width >= 16"),
    "loop too short": ("reduction", "width >= 32", "width >= 64"),
    "lanes missing from the warp": ("reduction", "if (threadIdx.x < 32) {", "if (threadIdx.x < 31) {"),
    "lanes missing from the mask": ("reduction", "0xffffffff", "0x0000ffff"),
    "mask of another lane": ("reduction", "0xffffffff", "0xffffffff << (threadIdx.x & 1)"),
    "shuffle the wrong way": ("reduction", "__shfl_down_sync", "__shfl_up_sync"),
    "never ends": ("reduction", "width /= 2", "width /= 1"),
    "tile by blockIdx": ("look_back", "tile = atomicAdd(next_tile, 1u)", "tile = blockIdx.x"),
    "tile not atomic": ("look_back", "tile = atomicAdd(next_tile, 1u)", "tile = (*next_tile)++"),
    "does not wait": ("look_back", "while (seen == 0);", "while (false);"),
    "adds its own tile": ("look_back", "j = (int)tile - 1", "j = (int)tile"),
    "waits for ever": ("look_back", "while (seen == 0);", "while (seen != 3);"),
    "status before the sum": (
        "look_back",
        "sum[tile] = scan[63];\n        __threadfence();\n        status[tile] = 1;",
        "status[tile] = 1;\n        sum[tile] = scan[63];",
    ),
    "status before the prefix": (
        "look_back",
        "prefix[tile] = total + scan[63];\n        __threadfence();\n        status[tile] = 2;",
        "status[tile] = 2;\n        prefix[tile] = total + scan[63];",
    ),
    "own taken for inclusive": ("look_back", "if (seen == 2)", "if (seen >= 1)"),
    "barrier missing between read and write": (
        "look_back",
        "- distance] : 0;\n        __syncthreads();",
        "- distance] : 0;",
    ),
    "barrier missing before the result": (
        "look_back",
        "    __syncthreads();\n    if (i < n) out",
        "    if (i < n) out",
    ),
    "shared memory taken for zeros": ("histogram", "counts[b] = 0", ";"),
    "addition not atomic": ("histogram", "atomicAdd(&counts[in[i] / 25], 1)", "counts[in[i] / 25]++"),
    "global addition not atomic": ("histogram", "atomicAdd(&out[b], counts[b])", "out[b] += counts[b]"),
    "dynamic shared memory too short": ("histogram", "b < 40", "b < 41"),
    "signed overflow": ("histogram", "in[i] / 25", "in[i] / 25 * (n * 1000000 != in[i] + 1)"),
    "block larger than its bounds": ("histogram", "__launch_bounds__(128)", "__launch_bounds__(96, 2)"),
    "misaligned": ("histogram", "in[i]", "*(const unsigned *)((const char *)(in + i) - 1)"),
    "shift too far": ("histogram", "in[i]", "(in[i] << (n >> 6) >> 31)"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_rejects(name):
    sample, old, new = MUTANTS[name]
    assert old in source(sample)
    mutant = source(sample).replace(old, new)

    def passes(seed: int) -> bool:
        try:
            return CHECKS[sample](mutant, seed=seed)
        except EmulationError:
            return False

    assert not all(passes(seed) for seed in range(40))  # most fall at the first; a narrow race wants luck


def test_lanes():
    values = np.random.default_rng(1).integers(0, 2**32, 32).astype(np.uint32)
    out = np.zeros((26, 32), np.uint32)
    emulator.run(source("builtins"), "lanes", 1, 32, (values, out), seed=3)
    x, lane = values.tolist(), range(32)

    def ballot(predicate, lanes=lane):
        return sum(1 << i for i in lanes if predicate(i))

    assert out[:-1].tolist() == [
        [x[5]] * 32,
        [x[i // 8 * 8 + (i + 9) % 8] for i in lane],
        [x[i - 3] if i >= 3 else x[i] for i in lane],
        [x[i - 3] if i % 16 >= 3 else x[i] for i in lane],
        [x[i + 7] if i % 16 < 9 else x[i] for i in lane],
        [x[i ^ 11] for i in lane],
        [ballot(lambda i: x[i] & 1)] * 32,
        [1] * 32,
        [1] * 32,
        [ballot(lambda i: x[i] & 2, lane[:16])] * 16 + [ballot(lambda i: x[i] & 4, lane[16:])] * 16,
        [ballot(lambda i, j=j: x[i] % 5 == x[j] % 5) for j in lane],
        [sum(x) % 2**32] * 32,
        [sum(v & 1 for v in x)] * 32,
        [1] * 32,
        [max(x)] * 32,
        [(int(-1.5 * min(x)) + 31) % 2**32] * 32,
        [v.bit_count() for v in x],
        [32 - (v >> 9).bit_length() for v in x],
        [(v & ~15 & -(v & ~15)).bit_length() for v in x],
        [int(f"{v:032b}"[::-1], 2) for v in x],
        [v * 0xDEADBEEF >> 32 for v in x],
        [(0x123456789ABCDEF * v % 2**64 * 0xFEDCBA9876543210 >> 64) % 2**32 for v in x],
        [64 - v % 64 + 63 - v % 64 + v % 64 + 1 for v in x],
        [(min(v, 10**9) - 3) % 2**32 for v in x],
        [int((i + 1) ** -0.5 * 1000000) for i in lane],
    ]


def test_device_variables_last_as_long_as_the_module():
    module = emulator.Module(source("builtins"))
    for launch in range(3):
        out = np.zeros((26, 32), np.uint32)
        module.launch("lanes", 1, 32, (np.zeros(32, np.uint32), out))
        assert out[-1, 0] == launch
    module.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_atomics(seed):
    n = 3 * 64
    u, wide, f, d = np.zeros(8 + n, np.uint32), np.zeros(2, np.uint64), np.zeros(1, np.float32), np.zeros(1)
    u[[2, 4]] = 2**32 - 1
    emulator.run(source("builtins"), "atomics", 3, 64, (u, wide, f, d), seed=seed)
    total = n * (n - 1) // 2
    expected = [total, n - 1, 0, 2**32 - 1, 0, np.bitwise_xor.reduce(np.arange(n)), 2**32 - 2 * n, n]
    assert u[:8].tolist() == expected
    assert (wide.tolist(), f[0], d[0]) == ([total << 32, 3 * n], n / 2, n / 4)
    assert sorted(u[8:]) == list(range(n))


def test_the_seed_fixes_the_order():
    def order(seed):
        u = np.zeros(8 + 192, np.uint32)
        arguments = (u, np.zeros(2, np.uint64), np.zeros(1, np.float32), np.zeros(1))
        emulator.run(source("builtins"), "atomics", 3, 64, arguments, seed=seed)
        return tuple(u[8:])

    assert [order(seed) for seed in SEEDS] == [order(seed) for seed in SEEDS]
    assert len({order(seed) for seed in SEEDS}) == len(SEEDS)


SHARED = {
    "__shared__ int a;": "(a = 1)",
    "__shared__ unsigned long long a[2][3];": "(a[1][2] = 1)",
    "__shared__ int b, a[4], c[2][2];": "(b = c[1][1] = a[3] = 1)",
    "__shared__ volatile int a[2];": "(a[1] = 1)",
    "volatile __shared__ int a[2];": "(a[1] = 1)",
    "static __shared__ __align__(16) int a[2];": "(a[1] = 1)",
    "__shared__ Pair<int, 3> a[2];": "(a[1].y[2] = 1)",
    "extern __shared__ __align__(8) unsigned char a[];": "(a[7] = 1)",
    "/* a __shared__ word */ __shared__ int a[(2 + 1) * 2]; // and; another __shared__ one": "(a[5] = 1)",
    'const char *s = "//"; __shared__ int a;': "(a = s[0] == 47)",
}


@pytest.mark.parametrize("declaration", SHARED)
def test_shared_declarations(declaration):
    kernel = f"""template <class T, int n> struct Pair {{ T x, y[n]; }};
    extern "C" __global__ void f(int *out) {{
        {declaration}
        *out = {SHARED[declaration]} + 10 * __LINE__; }}"""
    out = np.zeros(1, np.int32)
    emulator.run(kernel, "f", 1, 1, (out,), shared=8)
    assert out[0] == 41


def test_arguments():
    kernel = """extern "C" __global__
    void f(const long long *a, double *b, unsigned char c, float d, unsigned long long e, bool g)
    { b[1] = (double)d + a[0] + c + e + g; }"""
    a, b = np.array([-5]), np.zeros(2)
    good = [a, b, np.uint8(200), np.float32(0.5), 2**40, True]
    emulator.run(kernel, "f", 1, 1, good)
    assert b.tolist() == [0, 2**40 + 196.5]
    wrong = [
        (0, a.astype(np.int32)),
        (0, b),
        (0, 5),
        (1, b.astype(np.float32)),
        (2, 200),
        (2, np.int8(2)),
        (3, 0.5),
        (3, None),
        (4, 1.0),
    ]
    for position, value in wrong:
        with pytest.raises(TypeError, match=f"argument {position} is"):
            emulator.run(kernel, "f", 1, 1, [*good[:position], value, *good[position + 1 :]])
    with pytest.raises(TypeError, match="takes 6 arguments"):
        emulator.run(kernel, "f", 1, 1, good[:5])
    with pytest.raises(OverflowError, match="argument 4"):
        emulator.run(kernel, "f", 1, 1, [*good[:4], -1, True])
    with pytest.raises(ValueError, match="argument 0 is not contiguous"):
        emulator.run(kernel, "f", 1, 1, [np.zeros((3, 3), np.int64)[:, 1], *good[1:]])


def test_views_share_their_memory():
    kernel = 'extern "C" __global__ void f(int *a, const int *b) { a[threadIdx.x] = b[threadIdx.x] + 1; }'
    whole = np.arange(10, dtype=np.int32)
    emulator.run(kernel, "f", 1, 4, (whole[1:5], whole[6:]))
    assert whole.tolist() == [0, 7, 8, 9, 10, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("grid", "block", "shared"), [(0, 1, 0), (1, 1025, 0), ((1, 2**16), 1, 0), (1, (1, 1, 65), 0), (1, 1, 49 << 10)]
)
def test_launches_that_cuda_refuses(grid, block, shared):
    kernel = 'extern "C" __global__ void f() { extern __shared__ char a[]; a[0] = 1; }'
    with pytest.raises(EmulationError):
        emulator.run(kernel, "f", grid, block, (), shared=shared)


def test_reports_name_the_place():
    kernel = """extern "C" __global__ void f(int *a) {
        if (blockIdx.x == 2 && threadIdx.y == 1)
            a[5] = 1;
    }"""
    for seed in (0, 1):
        with pytest.raises(EmulationError) as caught:
            emulator.run(kernel, "f", 3, (1, 2), (np.zeros(4, np.int32),), seed=seed)
        for part in (
            "kernel.cu:3",
            "WRITE of size 4",
            "block (2, 0, 0), thread (0, 1, 0)",
            "byte 20 of array 0, which has 16 bytes",
        ):
            assert part in str(caught.value)


def test_local_arrays_are_checked():
    kernel = """__device__ int last(int *a, int n) { return a[n]; }
    extern "C" __global__ void f(int *out, int n) { int a[4] = {n, n, n, n}; a[n & 3]++; *out = last(a, n); }"""
    emulator.run(kernel, "f", 1, 1, (np.zeros(1, np.int32), np.int32(3)))
    with pytest.raises(EmulationError, match="stack-buffer-overflow"):
        emulator.run(kernel, "f", 1, 1, (np.zeros(1, np.int32), np.int32(4)))


def test_source_errors_are_not_taken_for_faults():
    with pytest.raises(emulator.BuildError, match=r"kernel\.cu:1"):
        emulator.run('extern "C" __global__ void f() { x = 1; }', "f", 1, 1, ())
