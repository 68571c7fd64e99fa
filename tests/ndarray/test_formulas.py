"""The formulas are one text for every kind of array of the array API: here NumPy's, and Dask's in chunks, lazily."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy", reason="NumPy is not installed")
da = pytest.importorskip("dask.array", reason="Dask is not installed")

import oracle  # noqa: E402 - it needs NumPy

from kernels.ndarray import formulas  # noqa: E402

rng = np.random.default_rng(5)
CALLS = {
    "softmax": (rng.normal(size=(9, 7)), 0),
    "logsumexp": (rng.normal(size=(9, 7)), 1),
    "batch_norm": (rng.normal(size=(9, 7)), rng.normal(size=7), rng.normal(size=7), (0,), 1e-5),
    "capsule_routing": (rng.normal(size=(2, 6, 4, 3)) / 4, 3),
    "angle_pdf": (rng.uniform(-0.5, 3.5, size=(5, 6)), 9),
}


@pytest.mark.parametrize("name", CALLS)
def test_same_text_on_numpy_and_on_dask(name):
    arguments = CALLS[name]
    lazy = [da.from_array(each, chunks=3) if isinstance(each, np.ndarray) else each for each in arguments]
    results, found = getattr(formulas, name)(*arguments), getattr(formulas, name)(*lazy)
    for result, other in zip(*(each if isinstance(each, tuple) else (each,) for each in (results, found)), strict=True):
        assert isinstance(other, da.Array)
        np.testing.assert_allclose(other.compute(), result, rtol=1e-12, atol=1e-14)


def test_a_mask_from_numbers_of_rows_and_columns():
    at = np.arange(11)
    expected = oracle.seq2seq_mask(4, 7)
    lazy = da.arange(11, chunks=3)
    assert (formulas.seq2seq_mask(at[:, None], at, 4) == expected).all()
    assert (formulas.seq2seq_mask(lazy[:, None], lazy, 4).compute() == expected).all()
