"""What is sparse arrays' own in the array pipelines: any format and fill value, and no more work than is stored."""

from __future__ import annotations

import pytest

sparse = pytest.importorskip("sparse")

import numpy as np  # noqa: E402
from timing import fastest  # noqa: E402

from kernels import ndarray  # noqa: E402

FORMATS = ["coo", "gcxs", "dok"]
FILLS = [0.0, 1.0, -2.5, np.inf, -np.inf, np.nan]
HUGE = 10**7

rng = np.random.default_rng(3)


def stored(*shape, density=0.3, fill=0.0, dtype="float64"):
    """Random values at random places, some of them explicitly the fill value."""
    values = np.where(rng.random(shape) < density, rng.normal(size=shape), fill).astype(dtype)
    places = np.array(np.nonzero((values != fill) & ~np.isnan(values) | (rng.random(shape) < 0.1)))
    return sparse.COO(places, values[tuple(places)], shape, fill_value=np.dtype(dtype).type(fill))


def scattered(*shape, n=2000, low=0.0):
    """An array too large to be dense."""
    coords = np.array([rng.integers(length, size=n) for length in shape])
    return sparse.COO(np.unique(coords, axis=1), 1.0, shape) * rng.uniform(low, 1.0)


def dense(result):
    return result.todense() if isinstance(result, sparse.SparseArray) else result


def agrees(name, *arguments, kind="coo", **options):
    """Compare with the python backend, and return the result."""

    def call(convert, **more):
        every = {**dict(enumerate(arguments)), **options}
        every = {key: convert(value) if isinstance(value, sparse.COO) else value for key, value in every.items()}
        positional = [every.pop(place) for place in range(len(arguments))]
        return getattr(ndarray, name)(*positional, **every, **more)

    expected = call(lambda array: array.todense().tolist(), backend="python")
    result = call(lambda array: array.asformat(kind))
    pairs = zip(result, expected, strict=True) if isinstance(result, tuple) else [(result, expected)]
    for found, wanted in pairs:
        np.testing.assert_allclose(dense(found), wanted, rtol=1e-11, atol=1e-12)
    return result


# Formats, fill values, results


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("fill", FILLS)
def test_any_fill_value(kind, fill):
    x = stored(5, 7, 3, fill=fill)
    for axis in range(3):
        assert isinstance(agrees("logsumexp", x, axis, kind=kind), np.ndarray)
        if fill != -np.inf:
            assert isinstance(agrees("softmax", x, axis, kind=kind), np.ndarray)
    for axes in [0, 1, (0, 2), (1, 2)]:
        kept = [n for place, n in enumerate(x.shape) if place not in np.atleast_1d(axes)]
        results = agrees("batch_norm", x, stored(*kept), stored(*kept, fill=1.0), axis=axes, kind=kind)
        assert all(isinstance(result, np.ndarray) for result in results)
    agrees("causal_conv1d", x, stored(3, 3, 2), dilation=2, kind=kind)
    agrees("causal_conv1d", x, stored(2, 3, 4), stored(4), dilation=3, state=stored(5, 3, 3, fill=0.5), kind=kind)
    agrees("hsic", stored(9, 4, fill=fill), stored(9), kind=kind)
    agrees("angle_pdf", x, 4, kind=kind)


@pytest.mark.parametrize("fill", FILLS)
def test_whatever_is_stored_whole_has_no_fill_value(fill):
    """Not even one that is not finite."""
    whole = sparse.COO(np.indices((4, 3)).reshape(2, -1), rng.random(12), (4, 3), fill_value=fill)
    agrees("logsumexp", whole, 1)
    agrees("softmax", whole, 0)
    agrees("batch_norm", whole, stored(3), stored(3))
    agrees("causal_conv1d", whole, stored(2, 3, 2))
    agrees("hsic", whole, stored(4, 2))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("shape", [(6,), (6, 5), (2, 6, 3)])
def test_a_softmax_of_what_is_minus_infinity_elsewhere_is_sparse(kind, shape):
    x = stored(*shape, fill=-np.inf)
    x.data[0] = -np.inf
    for axis in range(len(shape)):
        result = ndarray.softmax(x.asformat(kind), axis)
        assert type(result) is type(x.asformat(kind))
        assert result.fill_value == 0
        assert result.nnz == x.nnz
        with np.errstate(invalid="ignore"):
            weights = np.exp(x.todense() - x.todense().max(axis, keepdims=True))
            expected = np.nan_to_num(weights / weights.sum(axis, keepdims=True))  # rows of nothing stay empty
        np.testing.assert_allclose(result.todense(), expected, rtol=1e-13)


@pytest.mark.parametrize("special", [np.nan, np.inf])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (4, 3)])
def test_a_row_with_nan_or_infinity_becomes_nan_where_nothing_is_stored_too(special, shape):
    values = np.full(shape, -np.inf)
    values.flat[[1, 2, 7 % values.size]] = special, 1.0, 2.0
    for axis in range(len(shape)):
        result = ndarray.softmax(sparse.COO.from_numpy(values, fill_value=-np.inf), axis)
        lost = ((values == np.inf) | np.isnan(values)).any(axis, keepdims=True)
        assert (np.isnan(result.todense()) == np.broadcast_to(lost, shape)).all()
        assert result.nnz < values.size or lost.all()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("fill", [0.0, 0.5, 1 / np.e])
def test_log_gram_of_any_possible_fill_value(kind, fill):
    x = abs(stored(9, 5))
    agrees("log_gram", sparse.COO(x.coords, x.data, x.shape, fill_value=fill), kind=kind)


@pytest.mark.parametrize("special", [np.nan, np.inf, -1.0])
def test_log_gram_multiplies_what_is_not_stored_with_infinity(special):
    for place in range(12):
        x = abs(stored(4, 3))
        values = x.todense()
        values.flat[place] = special
        agrees("log_gram", sparse.COO.from_numpy(values))


def test_convolution_multiplies_what_is_not_stored_with_infinite_weights():
    w = stored(2, 3, 2).todense()
    w[1, 0, 1] = np.inf
    agrees("causal_conv1d", stored(2, 5, 3), sparse.COO.from_numpy(w), dilation=2)


def test_fill_values_without_a_meaning_are_refused():
    with pytest.raises(ValueError, match=r"x must have a fill value.* -1\.0"):
        ndarray.log_gram(stored(3, 2, fill=-1.0))
    with pytest.raises(ValueError, match=r"votes must have the fill value 0, .* 1\.0"):
        ndarray.capsule_routing(stored(3, 2, 2, fill=1.0))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
def test_convolution_of_sequences_of_any_kind(kind, dtype):
    for shape in [(9,), (9, 3), (2, 9, 3)]:
        features = shape[-1] if len(shape) > 1 else 1
        x = stored(*shape, fill=0.25, dtype=dtype) * np.dtype(dtype).type(1 + 1j if dtype[0] == "c" else 1)
        w = stored(2, features, 1, dtype=dtype)
        result = ndarray.causal_conv1d(x.asformat(kind), w, dilation=2)
        expected = ndarray.causal_conv1d(x.todense(), w.todense(), dilation=2, backend="numpy")
        assert result.dtype == dtype
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("shape", [(6,), (5, 6), (5, 1), (1, 6), (3, 5, 6), (2, 1, 5, 6), (2, 3, 1, 1)])
def test_attention_under_any_mask(kind, fill, shape):
    mask = rng.random(shape) < 0.5
    places = np.array(np.nonzero((mask != fill) | (rng.random(shape) < 0.3)))  # some of them stored in vain
    given = sparse.COO(places, mask[tuple(places)], shape, fill_value=fill)
    q, k, v = (stored(2, 3, n, 4, density=1.0) for n in (5, 6, 6))
    expected = ndarray.attention(q.todense(), k.todense(), v.todense(), mask, backend="numpy")
    result = ndarray.attention(*(each.asformat(kind) for each in (q, k, v)), given.asformat(kind))
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


def test_a_mask_filled_with_true_is_taken_block_by_block(monkeypatch):
    from kernels.ndarray import sampled_scores

    monkeypatch.setattr(sampled_scores, "MASK_BLOCK", 20)
    test_attention_under_any_mask("coo", True, (3, 5, 6))
    test_attention_under_any_mask("coo", True, (5, 6))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("shape", [(4, 3, 2), (2, 4, 3, 2), (2, 1, 4, 3, 2)])
@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_votes_that_are_not_stored_take_part_with_logit_zero(kind, shape, iterations):
    agrees("capsule_routing", stored(*shape), iterations, kind=kind)


@pytest.mark.parametrize("iterations", [1, 2])
def test_votes_that_are_not_finite(iterations):
    for special in (np.inf, np.nan):
        votes = stored(2, 4, 3, 2).todense()
        votes[1, 2, 1, 0] = special
        agrees("capsule_routing", sparse.COO.from_numpy(votes), iterations)


@pytest.mark.parametrize("make", [
    lambda n: stored(n, 6), lambda n: stored(n, 40, density=0.02), lambda n: stored(n, 3, density=1.0),
    lambda n: abs(stored(n, 4)) > 0.5, lambda n: stored(n, 4) * 10.0 ** rng.integers(-4, 5, 4), lambda n: stored(n),
    lambda n: stored(n, 3) + sparse.COO.from_numpy(np.array([[1e7, 0, 0]])),
    lambda n: stored(n, 3, density=0.0),
])  # fmt: skip
@pytest.mark.parametrize("n", [2, 3, 30, 41])
def test_hsic_with_features_that_rows_share_or_not(make, n):
    """Binary and empty rows have many equal distances; beside 1e7 in common the squares of the rest are lost."""
    x, y = make(n).astype(float), make(n).astype(float)
    agrees("hsic", x, y)
    agrees("hsic", x, y, sigma_x=0.5)
    agrees("hsic", x, y, sigma_x=1e-200, sigma_y=1e3)


def test_the_median_distance_is_the_median():
    from kernels.ndarray.shared_features import _median_distance, _rows

    for n in (2, 3, 4, 20, 51):
        for x in (stored(n, 8), stored(n, 50, density=0.02), (stored(n, 4) > 0).astype(float)):
            values = x.todense()
            distances = np.sqrt(((values[:, np.newaxis] - values) ** 2).sum(-1))[np.triu_indices(n, 1)]
            assert _median_distance(_rows(x)) == pytest.approx(np.median(distances), rel=1e-14)


def test_duplicates_and_narrow_coordinates():
    coords, data = np.array([[2, 2, 0, 1], [1, 1, 2, 0]], np.uint8), [1.0, 2.0, 3.0, 4.0]
    x = sparse.COO(coords, data, (200, 3))
    assert x.nnz == 3
    agrees("log_gram", x)
    agrees("softmax", x, 0)
    agrees("causal_conv1d", x, stored(2, 3, 2), dilation=100)
    agrees("hsic", x, x)
    agrees("capsule_routing", x.reshape((100, 3, 2)))


# What is stored, and what is not


@pytest.mark.parametrize(("n_source", "n_target"), [(0, 0), (0, 4), (4, 0), (3, 5)])
def test_a_mask_stores_what_is_true_in_order(n_source, n_target):
    mask = ndarray.seq2seq_mask(n_source, n_target, backend="sparse")
    assert isinstance(mask, sparse.COO)
    assert mask.dtype == bool
    assert not mask.fill_value
    again = sparse.COO(mask.coords[:, ::-1], mask.data, mask.shape)
    np.testing.assert_array_equal(mask.coords, again.coords)
    assert mask.nnz == again.nnz == (n_source + n_target) * n_source + n_target * (n_target + 1) // 2


def test_angles_are_a_container_and_their_density_has_a_fill_value():
    angles = ndarray.random_angles(5, 100, rng=1, backend="sparse")
    assert isinstance(angles, sparse.COO)
    assert angles.nnz == 100
    for kind in FORMATS:
        x = stored(4, 5, fill=1.5).asformat(kind)
        result = ndarray.angle_pdf(x, 3)
        assert type(result) is type(x)
        assert result.nnz == x.nnz
        assert result.fill_value == pytest.approx(np.sin(1.5) / 2)
    assert ndarray.angle_pdf(stored(4, 5, fill=-1.0), 3).fill_value == 0


@pytest.fixture
def never_dense(monkeypatch):
    def refuse(self, *args, **kwargs):
        raise AssertionError(f"made dense: {self!r}")

    for array_type in (sparse.COO, sparse.GCXS, sparse.DOK):
        for name in ("todense", "maybe_densify", "__array__"):
            if hasattr(array_type, name):
                monkeypatch.setattr(array_type, name, refuse)


@pytest.mark.usefixtures("never_dense")
def test_nothing_is_made_dense():
    """Most of these would not fit into any memory."""
    assert ndarray.log_gram(scattered(HUGE, 50)).shape == (50, 50)
    assert ndarray.logsumexp(scattered(1000, HUGE), 1).shape == (1000,)
    x = scattered(HUGE, HUGE)
    logits = sparse.COO(x.coords, x.data, x.shape, fill_value=-np.inf)
    for axis in (0, 1):
        assert ndarray.softmax(logits, axis).nnz == x.nnz
    assert np.isfinite(ndarray.hsic(scattered(1000, HUGE), scattered(1000, HUGE)))
    assert ndarray.capsule_routing(scattered(HUGE, 10, 16)).shape == (10, 16)
    assert ndarray.angle_pdf(x, 5).nnz == x.nnz
    one = sparse.COO(np.indices((2,)), np.ones(2), (2,))
    assert ndarray.batch_norm(scattered(10**4, 2), one, one).y.shape == (10**4, 2)
    taps = sparse.COO(np.indices((2, 1000, 1)).reshape(3, -1), np.ones(2000), (2, 1000, 1))
    assert ndarray.causal_conv1d(scattered(10, 1000, 1000), taps).shape == (10, 1000, 1)
    sequence = sparse.COO(np.indices((10**5, 1)).reshape(2, -1), np.ones(10**5), (10**5, 1))
    assert ndarray.attention(sequence, sequence, sequence, scattered(10**5, 10**5) > 0).shape == (10**5, 1)


# Time


def formula_of_log_gram(x):
    y = x.T @ np.where(x == 0, 0, np.log(x) + 1)
    return y - y.mean(axis=0)


def formula_of_softmax(x):
    weights = np.exp(x - x.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def formula_of_logsumexp(x):
    return np.log(np.exp(x).sum(axis=1))


def formula_of_kernel(x):
    squares = (x * x).sum(axis=1)
    distances = np.maximum(squares[:, np.newaxis] + squares - 2 * x @ x.T, 0)
    return np.exp(-distances / (2 * np.median(np.sqrt(distances[np.triu_indices(len(x), 1)])) ** 2))


def formula_of_hsic(x):
    kernel = formula_of_kernel(x)
    sums = kernel.sum(axis=0)
    return ((kernel * kernel).sum() - 2 / len(x) * sums @ sums + sums.sum() ** 2 / len(x) ** 2) / (len(x) - 1) ** 2


def formula_of_capsule_routing(votes):
    logits = np.zeros(votes.shape[:-1])
    for _ in range(3):
        sums = np.einsum("ij,ijd->jd", formula_of_softmax(logits), votes)
        squares = (sums * sums).sum(axis=-1, keepdims=True)
        v = sums * np.sqrt(squares) / (1 + squares)
        logits += np.einsum("ijd,jd->ij", votes, v)
    return v


@pytest.mark.parametrize(
    ("formula", "function", "shape"),
    [
        (formula_of_log_gram, ndarray.log_gram, (20_000, 100)),
        (formula_of_softmax, lambda x: ndarray.softmax(x, 1), (1000, 10**4)),
        (formula_of_logsumexp, lambda x: ndarray.logsumexp(x, 1), (1000, 10**4)),
        (formula_of_hsic, lambda x: ndarray.hsic(x, x), (1000, 1000)),
        (formula_of_capsule_routing, ndarray.capsule_routing, (20_000, 10, 16)),
    ],
    ids=["log_gram", "softmax", "logsumexp", "hsic", "capsule_routing"],
)
def test_a_thousandth_stored_takes_a_small_part_of_the_time(formula, function, shape):
    """A twentieth and far less where it is measured without other work; a fourth even where the clock is noisy."""
    x = sparse.random(shape, density=1e-3, random_state=5)
    given = x if formula is not formula_of_softmax else sparse.COO(x.coords, x.data, shape, fill_value=-np.inf)
    values = x.todense()
    function(given)
    with np.errstate(all="ignore"):
        assert fastest(lambda: function(given), 5) < fastest(lambda: formula(values), 3) / 4
