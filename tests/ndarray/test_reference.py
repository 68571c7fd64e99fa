"""Values that follow from the formulas by hand, on every backend and interpreter, without NumPy where there is none."""

from __future__ import annotations

from importlib.util import find_spec
from math import e, exp, inf, log, pi

import pytest

from kernels import ndarray

CASES = [
    ("log_gram", ([[1.0, e]],), {}, [[(1 - e) / 2, 1 - e], [(e - 1) / 2, e - 1]]),
    ("log_gram", ([[0.0], [e]],), {}, [[0.0]]),
    ("softmax", ([0.0, log(2), log(3)],), {}, [1 / 6, 2 / 6, 3 / 6]),
    ("softmax", ([[1000.0, -inf], [1000.0, 0.0]], 0), {}, [[0.5, 0.0], [0.5, 1.0]]),
    ("logsumexp", ([[0.0, log(2), log(3)], [-inf, -inf, 5.0]],), {}, [log(6), 5.0]),
    ("causal_conv1d", ([1.0, 2.0, 3.0], [[[1.0]], [[10.0]]], [100.0]), {"state": [7.0]}, [117.0, 121.0, 132.0]),
    ("causal_conv1d", ([[1j], [2.0]], [[[1j]], [[1.0]]]), {}, [[1j], [1.0]]),
    ("attention", ([[1.0]], [[0.0], [log(3)]], [[4.0], [8.0]]), {}, [[7.0]]),
    ("attention", ([[1.0]], [[0.0], [9.0]], [[4.0], [8.0]], [[True, False]]), {}, [[4.0]]),
    ("attention", ([[1.0]], [[0.0], [9.0]], [[4.0], [8.0]], [[False, False]]), {}, [[0.0]]),
    ("capsule_routing", ([[[3.0, 4.0]], [[0.0, 0.0]]], 1), {}, [[3 / 5 * 25 / 26, 4 / 5 * 25 / 26]]),
    ("angle_pdf", ([0.0, pi / 2, -0.1, 4.0], 2), {}, [1 / pi, 1 / pi, 0.0, 0.0]),
    ("angle_pdf", ([pi / 2, pi / 6], 3), {}, [1 / 2, 1 / 4]),
    ("angle_pdf", ([pi / 2], 5), {}, [3 / 4]),
]  # fmt: skip


def listed(result):
    if not find_spec("numpy"):
        return result
    from kernels import to_numpy

    return to_numpy(result).tolist()


def assert_close(found, expected):
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for item, wanted in zip(found, expected, strict=True):
            assert_close(item, wanted)
    else:
        assert found == pytest.approx(expected, rel=1e-13, abs=1e-15)


@pytest.mark.parametrize(("name", "arguments", "options", "expected"), CASES)
def test_by_hand(backend, name, arguments, options, expected):
    assert_close(listed(getattr(ndarray, name)(*arguments, **options, backend=backend)), expected)


def test_hsic_of_two_points(backend):
    """With the median as the width, two points have one kernel whatever their distance."""
    expected = (1 - exp(-1 / 2)) ** 2
    assert ndarray.hsic([0.0, 3.0], [[1.0, 2.0], [4.0, 6.0]], backend=backend) == pytest.approx(expected, rel=1e-13)


def test_batch_norm_by_hand(backend):
    y, mean, var = ndarray.batch_norm([[1.0, 5.0], [3.0, 5.0]], [2.0, 1.0], [10.0, 7.0], eps=0.75, backend=backend)
    assert_close(listed(mean), [2.0, 5.0])
    assert_close(listed(var), [1.0, 0.0])
    assert_close(listed(y), [[10 - 2 / 1.75**0.5, 7.0], [10 + 2 / 1.75**0.5, 7.0]])


def test_masks_by_hand(backend):
    expected = [[True, False, False], [True, True, False], [True, True, True]]
    assert listed(ndarray.seq2seq_mask(1, 2, backend=backend)) == expected


def test_bad_input_needs_no_numpy(backend):
    with pytest.raises(ValueError, match="x has rows of different lengths: 1, 2"):
        ndarray.log_gram([[1.0], [1.0, 2.0]], backend=backend)
    with pytest.raises(ValueError, match="x has rows beside single items"):
        ndarray.softmax([[1.0], 2.0], backend=backend)
    with pytest.raises(TypeError, match="x must be of float32, float64 or integers, not of str"):
        ndarray.softmax(["1.0"], backend=backend)
