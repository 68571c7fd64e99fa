"""What is sparse arrays' own in recurrences: formats and fill values, and no more work than is stored."""

from __future__ import annotations

import pytest

sparse = pytest.importorskip("sparse")

import numpy as np  # noqa: E402

from kernels import recurrence  # noqa: E402
from recurrence import scan_formulas  # noqa: E402

FORMATS = ["coo", "gcxs", "dok"]
HUGE = 10**9

rng = np.random.default_rng(3)


def stored(*shape, density=0.2, fill=0.0):
    """Random values at random places, some of them explicitly the fill value."""
    values = np.where(rng.random(shape) < density, rng.normal(size=shape), fill)
    places = np.array(np.nonzero((values != fill) | (rng.random(shape) < 0.1)))
    return sparse.COO(places, values[tuple(places)], shape, fill_value=fill)


def agrees(found, expected):
    for part, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, wanted.value, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("shape", [(50,), (50, 4), (3, 50, 4)], ids=str)
def test_events_have_the_coordinates_of_the_inputs(kind, shape):
    """Zeros that are stored are events, too."""
    a, b = sparse.COO.from_numpy(rng.uniform(-1, 1, shape[-1] if len(shape) > 1 else 1)), stored(*shape)
    h = recurrence.event_scan(a, b.asformat(kind))
    assert isinstance(h, sparse.COO)
    assert np.array_equal(h.coords, b.coords)
    expected, _ = scan_formulas.linear_scan(a.todense(), b.todense())
    np.testing.assert_allclose(h.data, expected.value[tuple(b.coords)], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("fill", [1.0, np.nan, np.inf])
def test_events_are_few(fill):
    with pytest.raises(ValueError, match=f"b must have the fill value 0, for no event, not {fill}"):
        recurrence.event_scan(0.5, stored(5, 3, fill=fill))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("fill", [0.0, 1.5, np.inf])
def test_any_fill_value(kind, fill):
    b, a, h0 = stored(2, 9, 3, fill=fill), stored(9, 3, fill=0.5), stored(2, 3)
    converted = [each.asformat(kind) for each in (a, b, h0)]
    dense = [each.todense() for each in (a, b, h0)]
    for options in ({}, {"reverse": True}, {"lengths": (4, 9)}):
        found = recurrence.linear_scan(*converted, **options, return_final=True)
        assert {type(part) for part in found} == {np.ndarray}
        agrees(found, scan_formulas.linear_scan(*dense, **options))
    if fill != np.inf:
        gates = np.clip(a.todense(), 0, 1) + np.zeros((2, 1, 1))
        gates_stored = sparse.COO.from_numpy(gates).asformat(kind)
        agrees(recurrence.qrnn(converted[1], gates_stored), scan_formulas.qrnn(dense[1], gates))
        w, biases = stored(3, 9), stored(2, 3, fill=0.25)
        agrees(
            recurrence.sru(converted[1], w.asformat(kind), biases.asformat(kind)),
            scan_formulas.sru(dense[1], w.todense(), biases.todense()),
        )


def test_powers_neither_overflow_nor_vanish():
    """A state that is within range after a pause is found, though the power of the factor is not."""
    for a, first, expected in [(2.0, 2.0**-1000, 2.0**1000), (0.5, 2.0**1000, 2.0**-1000), (-2.0, 0.0, 0.0)]:
        b = sparse.COO([[0, 2000]], [first, 0.0], (2001,))
        assert recurrence.event_scan(a, b).data.tolist() == [first, expected]


def test_time_and_memory_are_those_of_the_events():
    """Neither of which such a series would leave, were it dense."""
    coords = np.array([rng.integers(length, size=5000) for length in (5, HUGE, HUGE)])
    b = sparse.COO(np.unique(coords, axis=1), 1.0, (5, HUGE, HUGE))
    assert np.array_equal(recurrence.event_scan(1.0 - 1e-9, b).coords, b.coords)
    one = sparse.COO([[0, HUGE - 1], [0, 0]], [1.0, 1.0], (HUGE, 1))
    assert recurrence.event_scan(1.0, one).data.tolist() == [1.0, 2.0]
