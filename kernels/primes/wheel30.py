"""The sieve's layout, a byte for 30 numbers, and what Numba kernels do with it.

Bit `j` of byte `i` stands for ``30 * i + RESIDUES[j]``: the numbers that 2, 3 and 5 do not divide, in ascending order
from the lowest bit of the lowest byte. Counting reads little-endian words of eight bytes, 240 numbers.

The multiples of a prime that the layout holds are its products with ``30 * turn + RESIDUES[spoke]``. A turn of the
wheel begins at the byte ``prime * turn``, its base, and is `prime` bytes long; which bit a spoke clears depends on the
prime's residue alone. So eight loops of constant masks do the crossing off (the wheel: Pritchard, Acta Informatica 17,
1982; the bytes and the loops: Walisch's primesieve).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels.jit import jit

__all__ = [
    "OFFSETS",
    "RESIDUES",
    "SPOKE",
    "cross_large",
    "cross_off",
    "cross_turns",
    "first_multiple",
    "popcount",
    "trailing_zeros",
    "word_sum",
]

RESIDUES = (1, 7, 11, 13, 17, 19, 23, 29)
SPOKE = np.searchsorted(RESIDUES, range(31))  # the first spoke at or after a remainder; 8: there is none
OFFSETS = np.array([30 * (i // 8) + RESIDUES[i % 8] for i in range(64)] + [0])  # of a word's bits; 0 for its end

# For each spoke, and for each residue of a prime (in rows) and spoke, end to end.
_residues = np.array(RESIDUES)
_gaps = np.diff(RESIDUES, append=31)
_products = np.outer(_residues, _residues)
_carries = (_products // 30).ravel()
_carry_gaps = np.diff(_products // 30, append=_residues[:, None] + _products[:, :1] // 30).ravel()
_keeps = (0xFF ^ 1 << SPOKE[_products % 30]).astype(np.uint8).ravel()


@intrinsic
def popcount(typing_context, word):
    """Bits set in a uint64, as an int64."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def trailing_zeros(typing_context, word):
    """Index of the lowest bit set in a uint64, 64 where there is none, as an int64."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


_BYTES = tuple(map(np.uint64, (0xFF00FF00FF00FF00, 0xFFFF0000FFFF0000, 0xFFFFFFFF00000000)))
# Half of (residue - 1) is 0, 3, 5, 6, 8, 9, 11 or 14: the sums of some of 3, 5 and 6.
_THREES, _FIVES, _SIXES = (np.uint64(0x0101010101010101 * byte) for byte in (0b10110010, 0b11010100, 0b11101000))


@jit
def word_sum(word, number):
    """Sum of the numbers that the bits set in a word stand for, the word beginning with `number`: seven popcounts."""
    byte = popcount(word & _BYTES[0]) + 2 * popcount(word & _BYTES[1]) + 4 * popcount(word & _BYTES[2])
    half = 3 * popcount(word & _THREES) + 5 * popcount(word & _FIVES) + 6 * popcount(word & _SIXES)
    return 30 * byte + 2 * half + (number + 1) * popcount(word)


@jit
def first_multiple(prime, least, first_byte):
    """Base and spoke of ``prime * least``, or of the next multiple that the layout holds.

    The base counts from the block's first byte, and is negative where the multiple's turn began before it.
    """
    turn = least // 30
    return prime * turn - first_byte, SPOKE[least - 30 * turn]


def _turner(residue: int):
    """The loop for the primes of one residue."""
    row = slice(8 * RESIDUES.index(residue), 8 * RESIDUES.index(residue) + 8)
    c0, c1, c2, c3, c4, c5, c6, c7 = _carries[row].tolist()
    k0, k1, k2, k3, k4, k5, k6, k7 = _keeps[row]

    @jit
    def turns(block, prime, base, stop):
        step = prime // 30
        o0, o1, o2, o3 = step + c0, 7 * step + c1, 11 * step + c2, 13 * step + c3
        o4, o5, o6, o7 = 17 * step + c4, 19 * step + c5, 23 * step + c6, 29 * step + c7
        while base < stop:
            # Unsigned, or each access would look first whether it counts from the end.
            block[np.uint64(base + o0)] &= k0
            block[np.uint64(base + o1)] &= k1
            block[np.uint64(base + o2)] &= k2
            block[np.uint64(base + o3)] &= k3
            block[np.uint64(base + o4)] &= k4
            block[np.uint64(base + o5)] &= k5
            block[np.uint64(base + o6)] &= k6
            block[np.uint64(base + o7)] &= k7
            base += prime
        return base

    return turns


_turns_1, _turns_7, _turns_11, _turns_13, _turns_17, _turns_19, _turns_23, _turns_29 = map(_turner, RESIDUES)


@jit
def cross_turns(block, prime, base, stop):
    """Clear the multiples of a prime on every turn whose base is below `stop`, whole turns only; return the next base.

    The last turn reaches to ``stop + prime``. Where primes come sorted by residue the choice of the loop costs little.
    """
    residue = prime % 30
    if residue == 1:
        return _turns_1(block, prime, base, stop)
    if residue == 7:
        return _turns_7(block, prime, base, stop)
    if residue == 11:
        return _turns_11(block, prime, base, stop)
    if residue == 13:
        return _turns_13(block, prime, base, stop)
    if residue == 17:
        return _turns_17(block, prime, base, stop)
    if residue == 19:
        return _turns_19(block, prime, base, stop)
    if residue == 23:
        return _turns_23(block, prime, base, stop)
    return _turns_29(block, prime, base, stop)


@jit
def cross_off(block, size, prime, base, spoke):
    """Clear the multiples of a prime in ``block[:size]`` from (base, spoke) on; return the base and spoke of the next.

    For the block that follows, take `size` off the base.
    """
    step, row = prime // 30, 8 * SPOKE[prime % 30]
    while True:
        if spoke == 0:
            base = cross_turns(block, prime, base, size - 29 * step - _carries[row + 7])
        at = base + _residues[spoke] * step + _carries[row + spoke]
        if at >= size:
            return base, spoke
        block[np.uint64(at)] &= _keeps[row + spoke]
        spoke += 1
        if spoke == 8:
            spoke = 0
            base += prime


@jit
def cross_large(block, first_byte, primes):
    """Clear the multiples, from their squares on, of primes that the block holds few multiples of."""
    zero = np.uint64(30 * first_byte)
    for i in range(len(primes)):
        prime = np.uint64(primes[i])  # unsigned: the quicker division, of which each prime needs one
        least = max(prime, (zero + prime - np.uint64(1)) // prime)
        base, spoke = first_multiple(np.int64(prime), np.int64(least), first_byte)
        step, row = np.int64(prime // np.uint64(30)), 8 * SPOKE[prime % np.uint64(30)]
        at = base + _residues[np.uint64(spoke)] * step + _carries[np.uint64(row + spoke)]
        while at < len(block):
            block[np.uint64(at)] &= _keeps[np.uint64(row + spoke)]
            at += _gaps[np.uint64(spoke)] * step + _carry_gaps[np.uint64(row + spoke)]
            spoke = (spoke + 1) & 7
