"""What is Dask's own in the arrays: laziness, chunks of any kind, memory, schedulers."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools

import pytest

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

import dask.array as da  # noqa: E402
import numpy as np  # noqa: E402
from cluster_memory import little_memory  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from kernels import ndarray  # noqa: E402
from kernels.ndarray import chunked_attention, chunked_pairs, median  # noqa: E402

has_numba = importlib.util.find_spec("numba") is not None
rng = np.random.default_rng(20261121)


def normal(*shape, dtype=float):
    return rng.normal(size=shape).astype(dtype)


SAMPLES = {
    "log_gram": ((np.abs(normal(23, 7)),), {}),
    "log_gram of few rows": ((np.abs(normal(3, 9)),), {}),
    "softmax": ((5 * normal(9, 8), 0), {}),
    "softmax of rows": ((5 * normal(4, 3, 17, dtype="float32"), -1), {}),
    "logsumexp": ((5 * normal(9, 8), 1), {}),
    "logsumexp of one row": ((5 * normal(30), 0), {}),
    "batch_norm": ((3 + normal(14, 6), normal(6), normal(6)), {}),
    "batch_norm of images": ((3 + normal(4, 3, 5, 6), normal(3), normal(3)), {"axis": (0, 2, 3)}),
    "causal_conv1d": ((normal(3, 19, 4), normal(3, 4, 5), normal(5)), {"dilation": 3}),
    "causal_conv1d with a state": ((normal(19, 4), normal(2, 4, 2)), {"dilation": 7, "state": normal(7, 4)}),
    "causal_conv1d far back": ((normal(2, 12, 2), normal(3, 2, 2)), {"dilation": 5, "state": normal(2, 10, 2)}),
    "causal_conv1d of one feature": ((normal(25), normal(4, 1, 1)), {"dilation": 2}),
    "causal_conv1d of one tap": ((normal(9, 3), normal(1, 3, 2)), {"state": normal(0, 3)}),
    "attention": ((normal(7, 5), normal(19, 5), normal(19, 4)), {}),
    "attention of batches": ((normal(2, 3, 6, 4), normal(2, 3, 9, 4), normal(2, 3, 9, 2)), {"scale": 0.7}),
    "attention to some": ((normal(2, 6, 4), normal(2, 9, 4), normal(2, 9, 3), rng.random((6, 9)) < 0.3), {}),
    "attention by batch": ((normal(2, 6, 4), normal(2, 9, 4), normal(2, 9, 3), rng.random((2, 1, 9)) < 0.5), {}),
    "attention by query": ((normal(2, 6, 4), normal(2, 9, 4), normal(2, 9, 3), rng.random((6, 1)) < 0.5), {}),
    "hsic": ((normal(31, 2), normal(31, 3)), {}),
    "hsic of given widths": ((normal(13), normal(13)), {"sigma_x": 0.5, "sigma_y": 2.0}),
    "capsule_routing": ((normal(2, 3, 7, 3, 4) / 3,), {}),
    "capsule_routing of one sample": ((normal(9, 4, 3) / 3, 4), {}),
    "angle_pdf": ((rng.uniform(-0.5, 3.5, (7, 5)), 6), {}),
}
sampled = pytest.mark.parametrize("sample", SAMPLES)
SIZES = ["100 B", "600 B", "128 MiB"]


def results(value):
    return value if isinstance(value, tuple) else (value,)


def call(sample, make):
    """Call the sample's function with each array replaced by what `make` makes of it."""
    arguments, options = SAMPLES[sample]
    arguments = [make(value) if isinstance(value, np.ndarray) else value for value in arguments]
    options = {key: make(value) if isinstance(value, np.ndarray) else value for key, value in options.items()}
    return results(getattr(ndarray, sample.split()[0])(*arguments, **options))


def expected(sample):
    arguments, options = SAMPLES[sample]
    return results(getattr(ndarray, sample.split()[0])(*arguments, **options, backend="numpy"))


def check(sample, make):
    lazy = call(sample, make)
    for found, wanted in zip(dask.compute(*lazy), expected(sample), strict=True):
        assert np.shape(found) == np.shape(wanted)
        precision = 1e-4 if np.asarray(wanted).dtype == np.float32 else 1e-11
        np.testing.assert_allclose(found, wanted, rtol=precision, atol=precision)
    return lazy


@contextlib.contextmanager
def small_blocks():
    """Loops over blocks within a task, and limits of what is done at once, as with large arrays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked_attention, "KEYS", 4)
        patch.setattr(chunked_attention, "QUERIES", 3)
        patch.setattr(chunked_pairs, "LEAST", 1)
        patch.setattr(median, "SAMPLED", 10)
        yield


def chunkings(length):
    """Sizes of chunks that add up to `length`, some of them 0."""
    cuts = st.lists(st.integers(0, length), max_size=2).map(sorted)
    return cuts.map(lambda cuts: tuple(b - a for a, b in itertools.pairwise([0, *cuts, length])))


@pytest.fixture(autouse=True)
def own_scheduler(request):
    """Dask as it is where nobody started a cluster, also while the module's cluster runs."""
    with dask.config.set(scheduler=None if "client" in request.fixturenames else "synchronous"):
        yield


# Chunks


@sampled
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_any_chunks(sample, data):
    def make(value):
        return da.from_array(value, chunks=tuple(data.draw(chunkings(length)) for length in value.shape))

    with small_blocks(), dask.config.set({"array.chunk-size": data.draw(st.sampled_from(SIZES))}):
        for lazy in check(sample, make):
            if isinstance(lazy, da.Array):
                blocks = dask.compute(*np.ravel(lazy.to_delayed()))
                assert [np.shape(block) for block in blocks] == [*itertools.product(*lazy.chunks)]


@sampled
@pytest.mark.parametrize("size", SIZES)
def test_chunks_of_one_item(sample, size):
    with small_blocks(), dask.config.set({"array.chunk-size": size}):
        check(sample, lambda value: da.from_array(value, chunks=1))


def test_unknown_chunk_sizes_are_refused():
    unknown = da.from_array(np.ones((4, 3)), chunks=2)
    unknown = unknown[unknown[:, 0] > 0]
    for call in (ndarray.log_gram, ndarray.softmax, lambda x: ndarray.hsic(x, x)):
        with pytest.raises(ValueError, match=r"chunks of unknown size; call its compute_chunk_sizes\(\) first"):
            call(unknown)


# Laziness


def refuse(block):
    raise AssertionError("a chunk was computed")


def lazily(value):
    """A Dask array whose chunks cannot be computed."""
    whole = da.from_array(value, chunks=tuple(max(1, length // 2) for length in value.shape))
    return whole.map_blocks(refuse, meta=whole._meta)


@sampled
def test_nothing_is_computed_before_it_is_asked_for(sample):
    if sample.startswith("hsic"):
        with pytest.raises(AssertionError, match="a chunk was computed"):
            call(sample, lazily)
        return
    for lazy, wanted in zip(call(sample, lazily), expected(sample), strict=True):
        assert type(lazy) is da.Array
        assert (lazy.shape, lazy.dtype, lazy._meta.dtype) == (wanted.shape, wanted.dtype, wanted.dtype)
        assert all(type(size) is int for sizes in lazy.chunks for size in sizes)
        with pytest.raises(AssertionError, match="a chunk was computed"):
            lazy.compute()


def test_what_has_no_array_is_lazy_in_chunks_of_so_many_bytes():
    with dask.config.set({"array.chunk-size": "1 KiB"}):
        mask = ndarray.seq2seq_mask(30, 70, backend="dask")
        angles = ndarray.random_angles(7, 1000, rng=3, backend="dask")
    for lazy in (mask, angles):
        assert type(lazy) is da.Array
        assert max(block.nbytes for block in dask.compute(*np.ravel(lazy.to_delayed()))) <= 1024
        assert lazy.npartitions >= 8
    np.testing.assert_array_equal(mask, ndarray.seq2seq_mask(30, 70, backend="numpy"))
    np.testing.assert_allclose(angles, ndarray.random_angles(7, 1000, rng=3, backend="numpy"), rtol=1e-12)


def test_names_tell_results_apart():
    x = da.ones((6, 4), chunks=2)
    one, same, other = (ndarray.softmax(x, axis).name for axis in (0, 0, 1))
    assert one == same != other
    w = da.ones((2, 4, 3))
    one, same, other = (ndarray.causal_conv1d(x, w, dilation=n).name for n in (1, 1, 2))
    assert one == same != other


# Values that cross chunks


@pytest.mark.parametrize("name", ["softmax", "logsumexp"])
def test_special_rows_in_chunks(name):
    inf, nan, big = np.inf, np.nan, np.finfo(float).max
    rows = [
        [1, nan, 2], [inf, 1, 2], [inf, inf, 0], [-inf, -inf, -inf], [-inf, 1, 2], [inf, -inf, nan], [inf, -inf, 0],
        [big, big, big], [-big, -big, -big], [1e30, 1e30, 1e30], [-inf, -inf, 3], [-1e4, -1e4 - 1, -1e4 + 1],
    ]  # fmt: skip
    x = np.array(rows)
    function = getattr(ndarray, name)
    np.testing.assert_allclose(function(da.from_array(x, chunks=(5, 1))), function(x, backend="numpy"), rtol=1e-13)


of_pairs = pytest.mark.parametrize(
    "dense", ["numpy", pytest.param("numba", marks=pytest.mark.skipif(not has_numba, reason="Numba is not installed"))]
)


@of_pairs
@pytest.mark.parametrize("features", [(2, 3), (40, 1)])
def test_hsic_in_tiles(monkeypatch, dense, features):
    x, y = (normal(700, n) for n in features)
    monkeypatch.setattr(chunked_pairs, "default_backend", lambda *arguments: dense)
    with small_blocks(), dask.config.set({"array.chunk-size": "512 KiB"}):
        found = ndarray.hsic(da.from_array(x, chunks=100), da.from_array(y))
    assert found == pytest.approx(ndarray.hsic(x, y, backend="numpy"), rel=1e-10)


@of_pairs
def test_hsic_of_few_different_distances(monkeypatch, dense):
    """The two middle distances lie far apart, or many are equal to one that the sample holds."""
    monkeypatch.setattr(chunked_pairs, "default_backend", lambda *arguments: dense)
    with small_blocks(), dask.config.set({"array.chunk-size": "600 B"}):
        for x in (np.repeat([0.0, 1.0, 5.0], [11, 2, 3]), np.repeat([2.0, 7.0], 8), np.ones(9), np.arange(40.0) ** 9):
            y = rng.permutation(x)
            found = ndarray.hsic(da.from_array(x, chunks=4), da.from_array(y, chunks=3))
            assert found == pytest.approx(ndarray.hsic(x, y, backend="numpy"), rel=1e-9)


@of_pairs
@given(rows=st.lists(st.integers(-3, 3), min_size=5, max_size=25))
@settings(max_examples=20, deadline=None)
def test_the_median_is_that_of_numpy(dense, rows):
    x = np.array(rows, float)[:, None] ** 3 / 7
    pairs = np.abs(x - x.T)[np.triu_indices(len(x), 1)]
    with small_blocks():
        assert chunked_pairs._median(da.from_array(x, chunks=(7, 1)), dense) == pytest.approx(np.median(pairs))


# Schedulers and memory


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(2, threads_per_worker=1, memory_limit=LIMIT, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


LIMIT = 800 * 10**6  # a worker takes 300 MB before it has done anything
GROWTH = 150 * 10**6


def in_halves(value):
    return da.from_array(value, chunks=tuple(-(-length // 2) or 1 for length in value.shape))


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@sampled
def test_own_schedulers(sample, scheduler):
    with dask.config.set(scheduler=scheduler):
        check(sample, in_halves)


@sampled
def test_cluster(client, sample):
    assert dask.base.get_scheduler() == client.get
    check(sample, in_halves)


def block_of(seed, rows, columns):
    return np.add.outer(np.arange(rows) % 7 / 7, np.arange(1, columns + 1) + seed[0, 0] % 2)


@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_log_gram_of_more_than_memory(client, times):
    """Of an array of so many times what a worker may hold, nothing is written to disk, and little is held at once."""
    rows, columns = 64_000, 16
    size = rows * columns * 8
    n_chunks = times * LIMIT // size + 1
    seeds = da.from_array(np.arange(n_chunks)[:, None], chunks=1)
    x = seeds.map_blocks(block_of, rows, columns, chunks=((rows,) * n_chunks, (columns,)), meta=np.empty((0, 0)))
    assert x.nbytes > times * LIMIT
    with little_memory(client, GROWTH):
        found = ndarray.log_gram(x).compute()
    parts = [ndarray.log_gram(block_of(np.array([[seed]]), rows, columns), backend="numpy") for seed in (0, 1)]
    np.testing.assert_allclose(found, (n_chunks + 1) // 2 * parts[0] + n_chunks // 2 * parts[1], rtol=1e-9, atol=1e-6)


def test_scores_are_never_whole(client):
    """Those of eight thousand queries and keys would be 512 MB."""
    q = normal(8000, 4)
    lazy = da.from_array(q, chunks=(2000, 4))
    with little_memory(client, GROWTH):
        found = ndarray.attention(lazy, lazy, lazy)[::1000].compute()
    np.testing.assert_allclose(found, ndarray.attention(q[::1000], q, q, backend="numpy"), rtol=1e-9, atol=1e-12)
