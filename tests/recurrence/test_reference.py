"""Values that follow from the definitions by hand, on every backend and interpreter, without NumPy if there is none."""

from __future__ import annotations

from importlib.util import find_spec
from math import inf, isnan, nan

import pytest

from kernels import recurrence

# Sums and products of few bits, which are exact on every backend in whatever order they are taken.
SCANS = [
    ((0.5, [1.0, 1.0, 1.0]), {}, [1.0, 1.5, 1.75], 1.75),
    ((0.5, [1.0, 1.0, 1.0]), {"reverse": True}, [1.75, 1.5, 1.0], 1.75),
    ((0.5, [1, 1, 1], 4), {}, [3.0, 2.5, 2.25], 2.25),
    (([2, 0, -1], [1, 2, 3], 8), {}, [17.0, 2.0, 1.0], 1.0),
    (([2, 0, -1], [1, 2, 3], 8), {"reverse": True}, [5.0, 2.0, -5.0], 5.0),
    ((1, [1, 2, 3, 4]), {}, [1.0, 3.0, 6.0, 10.0], 10.0),
    ((-1, [1, 2, 3, 4]), {}, [1.0, 1.0, 2.0, 2.0], 2.0),
    ((0, [1, 2, 3, 4], 9), {}, [1.0, 2.0, 3.0, 4.0], 4.0),
    ((3, [1] * 30), {}, [(3**t - 1) / 2 for t in range(1, 31)], (3**30 - 1) / 2),
    ((1j, [1 + 0j, 0, 0, 0, 0]), {}, [1, 1j, -1, -1j, 1], 1),
    ((0.5, []), {}, [], 0.0),
    ((0.5, [], 3.0), {}, [], 3.0),
    (([0.5, 2], [[1, 1], [1, 1], [1, 1]]), {}, [[1.0, 1.0], [1.5, 3.0], [1.75, 7.0]], [1.75, 7.0]),
    (([[1], [0], [2]], [[1, 2], [3, 4], [5, 6]], [1, 1]), {}, [[2.0, 3.0], [3.0, 4.0], [11.0, 14.0]], [11.0, 14.0]),
    (([[[1.0]], [[-1.0]]], [[[1], [2]], [[1], [2]]]), {}, [[[1.0], [3.0]], [[1.0], [1.0]]], [[3.0], [1.0]]),
    ((2, [[[1], [1], [nan]], [[nan], [nan], [nan]]], [[1], [5]]), {"lengths": [2, 0]},
     [[[3.0], [7.0], [0.0]], [[0.0], [0.0], [0.0]]], [[7.0], [5.0]]),
    ((2, [[[1], [1], [nan]], [[1], [2], [4]]], [[1], [0]]), {"lengths": [2, 3], "reverse": True},
     [[[7.0], [3.0], [0.0]], [[21.0], [10.0], [4.0]]], [[7.0], [21.0]]),
]  # fmt: skip

# a, h, g, the state and the gradient of the final one; then da, db and dh0.
GRADIENTS = [
    ((0.5, [1.0, 2.5], [0.0, 1.0]), {}, 1.0, [0.5, 1.0], 0.25),
    ((0.5, [1.0, 2.5], [0.0, 1.0], 3.0), {}, 2.5, [0.5, 1.0], 0.25),
    ((0.5, [1.0, 2.5], [0.0, 1.0]), {"g_final": 2.0}, 3.0, [1.5, 3.0], 0.75),
    (([2.0, 0.5], [1.0, 2.5], [0.0, 1.0], 3.0), {}, [1.5, 1.0], [0.5, 1.0], 1.0),
    (([2.0, 0.5], [1.0, 2.5], [1.0, 0.0], 3.0), {"reverse": True}, [2.5, 6.0], [1.0, 2.0], 1.0),
    (([2.0], [[1, 1], [1, 1]], [[1, 0], [0, 1]]), {}, [3.0 - 2.0], [[1.0, 2.0], [0.0, 1.0]], [2.0, 4.0]),
    (([2.0, 3.0], [[1, 1], [1, 1]], [[1, 0], [0, 1]]), {}, [0.0, 1.0], [[1.0, 3.0], [0.0, 1.0]], [2.0, 9.0]),
    (([[2.0], [3.0]], [[1, 1], [1, 1]], [[1, 0], [0, 1]]), {}, [[0.0], [1.0]], [[1.0, 3.0], [0.0, 1.0]], [2.0, 6.0]),
    (([1j, 1j], [1j, -1], [0j, 1]), {}, [0, -1j], [-1j, 1], -1),
    ((1.0, [[[5.0], [nan]]], [[[1.0], [nan]]], [[2.0]]), {"lengths": [1], "g_final": [[3.0]]},
     8.0, [[[4.0], [0.0]]], [[4.0]]),
]  # fmt: skip

EVENTS = [
    ((0.5, [1, 0, 0, 1]), [1.0, 0.0, 0.0, 1.125]),
    ((0.5, [0, 0, 0, 0]), [0.0] * 4),
    (([0.5, -2], [[1, 1], [0, 0], [8, 0], [0, 1]]), [[1.0, 1.0], [0.0, 0.0], [8.25, 0.0], [0.0, -7.0]]),
    ((0, [1, 0, 2, 3]), [1.0, 0.0, 2.0, 3.0]),
    ((-1, [[[1], [0], [1]], [[1], [1], [1]]]), [[[1.0], [0.0], [2.0]], [[1.0], [0.0], [1.0]]]),
    ((1j, [1j, 0, 0, 1]), [1j, 0, 0, 2]),
    ((2, [1, *[0] * 99, 1]), [1.0, *[0.0] * 99, 2.0**100 + 1]),
]  # fmt: skip


def listed(result):
    if not find_spec("numpy"):
        return result.tolist() if hasattr(result, "tolist") else result
    from kernels import to_numpy

    return to_numpy(result).tolist()


@pytest.mark.parametrize(("arguments", "options", "h", "final"), SCANS)
def test_scans_by_hand(backend, arguments, options, h, final):
    assert listed(recurrence.linear_scan(*arguments, **options, backend=backend)) == h
    found = recurrence.linear_scan(*arguments, **options, return_final=True, backend=backend)
    assert [listed(part) for part in found] == [h, final]


@pytest.mark.parametrize(("arguments", "options", "da", "db", "dh0"), GRADIENTS)
def test_gradients_by_hand(backend, arguments, options, da, db, dh0):
    gradients = recurrence.linear_scan_vjp(*arguments, **options, backend=backend)
    assert (listed(gradients.da), listed(gradients.db), listed(gradients.dh0)) == (da, db, dh0)


@pytest.mark.parametrize(("arguments", "expected"), EVENTS)
def test_events_by_hand(backend, arguments, expected):
    assert listed(recurrence.event_scan(*arguments, backend=backend)) == expected


def test_gates_by_hand(backend):
    z, f, o = [[4.0, 1.0], [8.0, 1.0]], [[0.5, 1.0], [0.25, 0.0]], [[1.0, 2.0], [0.5, 0.0]]
    pooled = recurrence.qrnn(z, f, o, [2.0, 9.0], backend=backend)
    assert listed(pooled.c) == [[3.0, 1.0], [4.25, 1.0]]
    assert listed(pooled.h) == [[3.0, 2.0], [2.125, 0.0]]
    assert listed(pooled.final) == [4.25, 1.0]
    pooled = recurrence.qrnn(z, f, backend=backend)
    assert listed(pooled.h) == listed(pooled.c) == [[2.0, 1.0], [3.5, 1.0]]


def test_a_simple_recurrent_unit_by_hand(backend):
    """Gates are a half where nothing goes into them, and 0 or 1 where much does."""
    x, half, open_gates = [[2.0], [0.0], [4.0]], [[0.0], [0.0]], [[-1000.0], [1000.0]]
    unit = recurrence.sru(x, [[1.0, 0.0, 0.0]], half, backend=backend)
    assert listed(unit.c) == [[1.0], [0.5], [2.25]]
    assert listed(unit.h) == [[1.5], [0.25], [3.125]]
    assert listed(unit.final) == [2.25]
    unit = recurrence.sru(x, [[3.0, 0.0, 0.0]], open_gates, None, [7.0], backend=backend)
    assert listed(unit.c) == listed(unit.h) == [[6.0], [0.0], [12.0]]
    unit = recurrence.sru(x, [[1.0, 0.0, 0.0]], half, [[-2000.0], [-2000.0]], [1.0], backend=backend)
    assert listed(unit.c) == [[2.0], [0.0], [2.0]]
    assert listed(unit.h) == [[2.0], [0.0], [3.0]]


def test_eigenvalues_by_hand(backend):
    assert listed(recurrence.lru([1j, 2], [[1, 1], [0j, 0], [0, 1]], backend=backend)) == [[1, 1], [1j, 2], [-1, 5]]
    assert listed(recurrence.lru(0.5, [1.0, 0.0], 2.0, backend=backend)) == [2.0, 1.0]


def test_what_is_not_finite(backend):
    h = listed(recurrence.linear_scan(0.5, [[1.0, nan], [1.0, 1.0], [inf, 1.0]], backend=backend))
    assert [row[0] for row in h] == [1.0, 1.5, inf]
    assert all(isnan(row[1]) for row in h)


def test_bad_input_needs_no_numpy(backend):
    with pytest.raises(ValueError, match=r"h0 must have the shape \(2,\) of b without time, not \(1,\)"):
        recurrence.linear_scan(0.5, [[1.0, 2.0]], [0.0], backend=backend)
    with pytest.raises(ValueError, match="lengths must be 1, one a sequence, not 2"):
        recurrence.linear_scan(0.5, [[[1.0, 2.0]]], lengths=[1, 1], backend=backend)
    with pytest.raises(TypeError, match="out must be an array"):
        recurrence.linear_scan(0.5, [1.0], out=[0.0], backend=backend)
