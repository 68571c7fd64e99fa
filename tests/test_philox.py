"""Philox4x32-10 against the vectors that Random123 publishes, in each of its forms."""

from __future__ import annotations

import warnings

import pytest

from kernels.philox import philox4x32, uniforms

# Counter, key and words of Random123's kat_vectors.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
EXTREME = [((0,) * 4, 2**-53, 0.0), ((2**32 - 1,) * 4, 1.0, 1 - 2**-53), ((2**31, 0, 2**31, 0), 0.5 + 2**-53, 0.5)]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_words(counter, key, words):
    assert philox4x32(*counter, *key) == words


def test_known_words_of_arrays():
    """A product of 64 bits wraps, and NumPy does not warn."""
    np = pytest.importorskip("numpy")
    counters, keys, words = (np.array(part, np.int64).T for part in zip(*KNOWN, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = philox4x32(*counters, *keys)
    assert np.array_equal(found, words)
    assert all(word.dtype == np.int64 for word in found)


def test_words_that_counters_share_may_be_ints():
    np = pytest.importorskip("numpy")
    found = philox4x32(np.arange(100), 0, 0, 0, 0xA4093822, 0x299F31D0)
    expected = [philox4x32(i, 0, 0, 0, 0xA4093822, 0x299F31D0) for i in range(100)]
    assert np.array_equal(np.transpose(found), expected)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_words_compiled(counter, key, words):
    pytest.importorskip("numba")
    from kernels import compiled_philox

    assert compiled_philox.philox4x32(*counter, *key) == words


@pytest.mark.parametrize(("words", "first", "second"), EXTREME)
def test_uniforms_at_their_ends(words, first, second):
    assert uniforms(*words) == (first, second)


def test_uniforms_of_all_forms_agree():
    np = pytest.importorskip("numpy")
    words = np.stack(philox4x32(np.arange(1000), 0, 0, 0, 1, 2))
    arrays = np.stack(uniforms(*words))
    assert arrays.T.tolist() == [list(uniforms(*word)) for word in words.T.tolist()]
    assert ((arrays[0] > 0) & (arrays[0] <= 1) & (arrays[1] >= 0) & (arrays[1] < 1)).all()
    pytest.importorskip("numba")
    from kernels import compiled_philox

    assert arrays.T.tolist() == [list(compiled_philox.uniforms(*word)) for word in words.T.tolist()]
