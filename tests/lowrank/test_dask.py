"""What is Dask's own in the products: chunks of any kind, laziness, passes over what does not fit into memory."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import math

import pytest

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

import dask.array as da  # noqa: E402
import numpy as np  # noqa: E402
from cluster_memory import little_memory  # noqa: E402
from hypothesis import Phase, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from kernels import lowrank  # noqa: E402
from kernels.lowrank import chunked_svd, chunked_terms, on_dask  # noqa: E402
from kernels.lowrank.chunked_passes import after  # noqa: E402

rng = np.random.default_rng(20261120)
DTYPES = ["float32", "float64", "complex64", "complex128"]
SIZES = ["100 B", "600 B", "128 MiB"]
has_numba = importlib.util.find_spec("numba") is not None


def normal(*shape, dtype="float64"):
    values = rng.normal(size=shape) + (1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else 0)
    return values.astype(dtype)


def uneven(m, terms, n, dtype="float64"):
    """Factors of a product whose terms have different weights, a few of them 0."""
    scale = np.geomspace(0.05, 1, terms)
    scale[::7] = 0
    return (normal(m, terms) * scale).astype(dtype), normal(terms, n, dtype=dtype)


def examples(count):
    """Without shrinking what fails, which takes hours with graphs."""
    return settings(max_examples=count, deadline=None, phases=[Phase.generate])


def chunkings(length):
    """Sizes of chunks that add up to `length`, some of them 0."""
    cuts = st.lists(st.integers(0, length), max_size=2).map(sorted)
    return cuts.map(lambda cuts: tuple(b - a for a, b in itertools.pairwise([0, *cuts, length])))


def in_any_chunks(data, *arrays):
    return [
        da.from_array(value, chunks=tuple(data.draw(chunkings(length)) for length in value.shape)) for value in arrays
    ]


def precision(dtype):
    """Where single precision is asked for, what sums in another order are off by."""
    return {"rtol": 2e-4, "atol": 2e-4} if np.dtype(dtype).char in "fF" else {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture(autouse=True)
def own_scheduler(request):
    """Dask as it is where nobody started a cluster, also while the module's cluster runs."""
    with dask.config.set(scheduler=None if "client" in request.fixturenames else "synchronous"):
        yield


# Any chunks


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampling", lowrank.SAMPLINGS)
@given(data=st.data())
@examples(6)
def test_products_in_any_chunks(sampling, dtype, data):
    m, terms, n = (data.draw(st.integers(1, most)) for most in (9, 25, 9))
    whole = uneven(m, terms, n, dtype)
    x, y = in_any_chunks(data, *whole)
    options = {"sampling": sampling, "rng": data.draw(st.integers(0, 99))}
    rank = data.draw(st.integers(1, terms + 1))
    wanted, info = lowrank.cr_matmul(*whole, rank, **options, return_info=True, backend="numpy")
    with dask.config.set({"array.chunk-size": data.draw(st.sampled_from(SIZES))}):
        lazy = lowrank.cr_matmul(x, y, rank, **options)
        again, found = lowrank.cr_matmul(x, y, rank, **options, return_info=True)
        blocks = dask.compute(*np.ravel(lazy.to_delayed()))
        assert [block.shape for block in blocks] == [*itertools.product(*lazy.chunks)]
        assert {block.dtype for block in blocks} == {np.dtype(dtype)}
        for w in (lazy, again):
            np.testing.assert_allclose(w, wanted, **precision(dtype))
    assert (found.method, found.rank, found.kind) == (info.method, info.rank, info.kind)
    np.testing.assert_array_equal(found.indices, info.indices)
    if sampling != "topk_reweighted":  # else of dependent terms each precision has its own
        np.testing.assert_allclose(found.weights, info.weights, **precision(dtype))
    assert type(found.error) is float
    norm = 1 + float(np.linalg.norm(whole[0] @ whole[1]))
    assert found.error == pytest.approx(info.error, rel=1e-3, abs=1e-3 * norm)


@pytest.mark.parametrize("sampling", lowrank.SAMPLINGS)
def test_terms_in_groups(sampling):
    """Where the chosen columns would outgrow a chunk, in groups whose bounds do not fit the chunks of y."""
    whole = uneven(8, 60, 8)
    x, y = da.from_array(whole[0], chunks=(4, 7)), da.from_array(whole[1], chunks=(11, 5))
    wanted = lowrank.cr_matmul(*whole, 40, sampling=sampling, rng=5, backend="numpy")
    with dask.config.set({"array.chunk-size": "400 B"}):
        assert len(chunked_terms._bounds(x, y, 40)) > 3
        np.testing.assert_allclose(lowrank.cr_matmul(x, y, 40, sampling=sampling, rng=5), wanted, rtol=1e-9, atol=1e-9)


@given(data=st.data())
@examples(20)
def test_errors_in_any_chunks(data):
    x, y = normal(7, 12), normal(12, 5)
    w = x @ y + 0.1 * normal(7, 5)
    probes, key = data.draw(st.integers(1, 9)), data.draw(st.integers(0, 99))
    found = lowrank.estimate_error(*in_any_chunks(data, x, y, w), probes=probes, rng=key)
    wanted = lowrank.estimate_error(x, y, w, probes=probes, rng=key, backend="numpy")
    assert type(found) is float
    assert found == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@examples(6)
def test_plans_in_any_chunks(dtype, data):
    whole = uneven(9, 40, 7, dtype)
    found = lowrank.cr_plan(*in_any_chunks(data, *whole))
    wanted = lowrank.cr_plan(*whole, backend="numpy")
    assert found.ranks == wanted.ranks
    np.testing.assert_allclose(found.errors, wanted.errors, rtol=1e-3)
    np.testing.assert_allclose(found.bounds, wanted.bounds, rtol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@examples(10)
def test_svd_in_any_chunks(dtype, data):
    m, n = data.draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    whole = normal(m, n, dtype=dtype)
    options = {
        "rank": data.draw(st.integers(1, 8)),
        "oversample": data.draw(st.integers(0, 4)),
        "iterations": data.draw(st.integers(0, 3)),
        "rng": 3,
    }
    (a,) = in_any_chunks(data, whole)
    wanted = lowrank.randomized_svd(whole, **options, backend="numpy")
    with small_tasks(), dask.config.set({"array.chunk-size": data.draw(st.sampled_from(SIZES))}):
        lazy = lowrank.randomized_svd(a, **options)
        found = lowrank.SVD(*dask.compute(*lazy))
        for array in lazy:
            blocks = dask.compute(*np.ravel(array.to_delayed()))
            assert [block.shape for block in blocks] == [*itertools.product(*array.chunks)]
    for one, other, array in zip(found, wanted, lazy, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype) == (array.shape, array.dtype)
    np.testing.assert_allclose(found.s, wanted.s, **precision(dtype))
    np.testing.assert_allclose(found.u * found.s @ found.vh, wanted.u * wanted.s @ wanted.vh, rtol=1e-2, atol=1e-2)
    for vectors in (found.u.conj().T, found.vh):
        np.testing.assert_allclose(vectors @ vectors.conj().T, np.eye(len(found.s)), atol=1e-5)


@contextlib.contextmanager
def small_tasks():
    """Several blocks of vectors, as of a large matrix."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked_svd, "WORTH_A_TASK", 1)
        patch.setattr(chunked_svd, "TALL", 1)
        yield


def test_the_sign_is_that_of_the_greatest_item_in_any_block():
    whole = normal(60, 20)
    with small_tasks():
        found = lowrank.randomized_svd(da.from_array(whole, chunks=(7, 6)), 5, rng=1)
        assert found.u.numblocks[0] > 3
    u = found.u.compute()
    assert (u[np.abs(u).argmax(axis=0), np.arange(5)] > 0).all()
    np.testing.assert_allclose(u, lowrank.randomized_svd(whole, 5, rng=1, backend="numpy").u, atol=1e-8)


@pytest.mark.parametrize("dense", ["numpy", "numba"] if has_numba else ["numpy"])
def test_either_dense_backend(monkeypatch, dense):
    monkeypatch.setattr(on_dask, "default_backend", lambda *arguments: dense)
    x, y = uneven(9, 40, 8)
    lazy = da.from_array(x, chunks=(4, 11)), da.from_array(y, chunks=(9, 3))
    for sampling in lowrank.SAMPLINGS:
        wanted = lowrank.cr_matmul(x, y, 12, sampling=sampling, rng=8, backend="numpy")
        np.testing.assert_allclose(lowrank.cr_matmul(*lazy, 12, sampling=sampling, rng=8), wanted, rtol=1e-9, atol=1e-9)


def test_as_many_terms_as_the_tolerance_takes(monkeypatch):
    monkeypatch.setattr(on_dask, "_COSTS", on_dask._Costs(0, 0, 0, 0))
    x, y = rng.random((30, 400)), rng.random((400, 20))
    lazy = da.from_array(x, chunks=(11, 90)), da.from_array(y, chunks=(70, 9))
    w, info = lowrank.cr_matmul(*lazy, rtol=0.2, rng=1, return_info=True)
    assert info.method == "systematic"
    assert np.linalg.norm(w - x @ y) <= 0.2 * np.linalg.norm(x @ y)
    for same in (lowrank.cr_matmul(*lazy, rtol=0.2, rng=1), lowrank.cr_matmul(*lazy, info.rank, rng=1)):
        np.testing.assert_array_equal(w, same)


# Special values


@pytest.mark.parametrize("sampling", lowrank.SAMPLINGS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_in_one_block_makes_all_of_a_sample_so(sampling, value):
    x, y = normal(5, 12), normal(12, 6)
    y[7, 2] = value
    lazy = da.from_array(x, chunks=(2, 5)), da.from_array(y, chunks=(4, 3))
    w, info = lowrank.cr_matmul(*lazy, 4, sampling=sampling, rng=0, return_info=True)
    for product in (w, lowrank.cr_matmul(*lazy, 4, sampling=sampling, rng=0)):
        assert np.isnan(product).all().compute()
    assert math.isnan(info.error)
    assert len(info.indices) == len(info.weights) == 0
    exact, info = lowrank.cr_matmul(*lazy, rtol=0.5, sampling=sampling, rng=0, return_info=True)
    assert info.method == "exact"
    np.testing.assert_array_equal(np.isnan(exact), np.isnan(x @ y))
    assert all(map(math.isnan, lowrank.cr_plan(*lazy).errors[:-1]))
    assert all(np.isnan(part).all().compute() for part in lowrank.randomized_svd(lazy[1], 3, rng=0))


@pytest.mark.parametrize("sampling", lowrank.SAMPLINGS)
def test_nothing_but_zeros(sampling):
    zeros = da.zeros((6, 6), chunks=(4, 5))
    w, info = lowrank.cr_matmul(zeros, zeros, 3, sampling=sampling, rng=0, return_info=True)
    assert not w.any().compute()
    assert (info.error, info.relative_error, len(info.indices)) == (0, 0, 0)
    assert lowrank.cr_plan(zeros, zeros) == lowrank.cr_plan(
        np.zeros((6, 6)), np.zeros((6, 6)), backend="numpy"
    )._replace(break_even=0, advice=lowrank.cr_plan(zeros, zeros).advice)


@pytest.mark.parametrize("shape", [(0, 5, 3), (4, 0, 3), (4, 5, 0), (0, 0, 0)])
def test_empty_axes(shape):
    m, terms, n = shape
    x, y = da.zeros((m, terms)), da.zeros((terms, n))
    for sampling in lowrank.SAMPLINGS:
        w, info = lowrank.cr_matmul(x, y, 2, sampling=sampling, rng=0, return_info=True)
        np.testing.assert_array_equal(w, np.zeros((m, n)))
        assert info.error == 0
    assert lowrank.estimate_error(x, y, da.zeros((m, n)), rng=0) == 0
    assert lowrank.cr_plan(x, y).ranks == lowrank.cr_plan(*dask.compute(x, y), backend="numpy").ranks
    shapes = [part.compute().shape for part in lowrank.randomized_svd(x, 2, rng=0)]
    assert shapes == [(m, k := min(2, m, terms)), (k,), (k, terms)]


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_norms_are_merged_without_overflow(scale):
    x, y = uneven(9, 30, 5)
    lazy = da.from_array(x * scale, chunks=(2, 7)), da.from_array(y, chunks=(4, 2))
    wanted = lowrank.cr_matmul(x, y, 8, rng=1, backend="numpy")
    np.testing.assert_allclose(lowrank.cr_matmul(*lazy, 8, rng=1) / scale, wanted, rtol=1e-9, atol=1e-9)


# Laziness


def refuse(block):
    raise AssertionError("a chunk was computed")


def test_nothing_is_computed_before_it_is_asked_for():
    x, y = (da.ones((12, 12), chunks=5).map_blocks(refuse, meta=np.empty((0, 0))) for _ in range(2))
    products = [lowrank.cr_matmul(x, y, rank, sampling=name) for name in lowrank.SAMPLINGS for rank in (5, 12)]
    for lazy in (*products, *lowrank.randomized_svd(x, 3)):
        assert type(lazy) is da.Array
        assert all(type(size) is int for sizes in lazy.chunks for size in sizes)
        with pytest.raises(AssertionError, match="a chunk was computed"):
            lazy.compute()
    for call in (lowrank.cr_plan, lambda x, y: lowrank.estimate_error(x, y, x)):
        with pytest.raises(AssertionError, match="a chunk was computed"):
            call(x, y)


def test_names_tell_results_apart():
    x = da.ones((12, 12), chunks=5)
    one, same, other = (lowrank.cr_matmul(x, x, 4, rng=key).name for key in (1, 1, 2))
    assert one == same != other
    one, same, other = (lowrank.randomized_svd(x, 4, rng=key).u.name for key in (1, 1, 2))
    assert one == same != other


def test_unknown_chunk_sizes_are_refused():
    unknown = da.from_array(np.ones((4, 4)), chunks=2)
    unknown = unknown[unknown[:, 0] > 0]
    for call in (lambda x: lowrank.cr_matmul(x, x, 2), lowrank.cr_plan, lambda x: lowrank.randomized_svd(x, 2)):
        with pytest.raises(ValueError, match=r"chunks of unknown size; call its compute_chunk_sizes\(\) first"):
            call(*[unknown] * (1 if call is not lowrank.cr_plan else 2))


# Passes


def test_each_pass_reads_each_block_once():
    read = []

    def block(seed):
        read.append(seed[0, 0])
        return normal(6, 5)

    seeds = da.from_array(np.arange(12).reshape(4, 3), chunks=1)
    a = seeds.map_blocks(block, chunks=((6,) * 4, (5,) * 3), meta=np.empty((0, 0)))
    for iterations in (0, 1, 2):
        read.clear()
        dask.compute(*lowrank.randomized_svd(a, 2, iterations=iterations, rng=0))
        assert sorted(read) == sorted([*range(12)] * (2 * iterations + 2))
    for sampling in lowrank.SAMPLINGS:
        read.clear()
        lowrank.cr_matmul(a, da.ones((15, 2)), 6, sampling=sampling, rng=0).compute()
        assert sorted(read) == sorted([*range(12)] * (4 if sampling == "topk_reweighted" else 2))
    read.clear()
    lowrank.cr_matmul(a, da.ones((15, 2)), 6, rng=0, return_info=True)
    assert sorted(read) == sorted([*range(12)] * 2)


MADE_BY = {
    "from an array": lambda x: x,
    "blocks that are computed": lambda x: x + 1,
    "rechunked": lambda x: (x + 1).rechunk((5, 2)) + 1,
    "sliced": lambda x: (x + 1)[1:, ::2],
    "picked": lambda x: (x + 1)[[3, 1, 2]],
    "transposed": lambda x: x.T,
    "joined": lambda x: da.concatenate([x, x + 1], axis=1),
    "padded": lambda x: da.pad(x, 1),
    "summed up": lambda x: x.cumsum(axis=0),
    "random": lambda x: da.random.default_rng(3).normal(size=(8, 6), chunks=(3, 4)),
    "kept": lambda x: (x + 1).persist(),
    "made of what is kept": lambda x: (x + 1).persist() * 2,
    "part of what is kept": lambda x: (x + 1).persist()[1:],
}


def check_after(make):
    x = make(da.from_array(np.arange(48.0).reshape(8, 6), chunks=(3, 4)))
    first = da.ones(5, chunks=2)
    again = after(first, x)
    np.testing.assert_array_equal(again, x)
    np.testing.assert_array_equal(again - x, np.zeros(x.shape))
    assert again.name == after(first, x).name != after(first + 1, x).name


@pytest.mark.parametrize("made", MADE_BY)
def test_arrays_of_any_making_are_read_again(made):
    check_after(MADE_BY[made])


@pytest.mark.parametrize("made", MADE_BY)
def test_a_cluster_reads_arrays_of_any_making_again(client, made):
    check_after(MADE_BY[made])


# Schedulers and memory


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(2, threads_per_worker=1, memory_limit=LIMIT, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


LIMIT = 800 * 10**6  # a worker takes 300 MB before it has done anything
GROWTH = 200 * 10**6


def check_all():
    whole = uneven(30, 50, 20)
    x, y = da.from_array(whole[0], chunks=(11, 13)), da.from_array(whole[1], chunks=(9, 12))
    for sampling in lowrank.SAMPLINGS:
        wanted, info = lowrank.cr_matmul(*whole, 20, sampling=sampling, rng=2, return_info=True, backend="numpy")
        lazy = lowrank.cr_matmul(x, y, 20, sampling=sampling, rng=2)
        w, found = lowrank.cr_matmul(x, y, 20, sampling=sampling, rng=2, return_info=True)
        for product in (lazy, w):
            np.testing.assert_allclose(product, wanted, rtol=1e-9, atol=1e-9)
        assert found.error == pytest.approx(info.error)
    plan = lowrank.cr_plan(*whole, backend="numpy")
    assert lowrank.cr_plan(x, y).errors == pytest.approx(plan.errors)
    np.testing.assert_allclose(lowrank.cr_matmul(x, y, rtol=1e-3), whole[0] @ whole[1])
    svd = lowrank.randomized_svd(whole[0], 4, rng=1, backend="numpy")
    for found, wanted in zip(dask.compute(*lowrank.randomized_svd(x, 4, rng=1)), svd, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_own_schedulers(scheduler):
    with dask.config.set(scheduler=scheduler):
        check_all()


def test_cluster(client):
    assert dask.base.get_scheduler() == client.get
    check_all()


def block_of(seed, rows, columns):
    """Of random numbers that any block is made of anew."""
    return np.random.default_rng(int(seed.ravel()[0])).normal(size=(rows, columns))


def larger_than_memory(times, rows, columns):
    """A tall array of so many times what a worker may hold."""
    count = int(times * LIMIT / (rows * columns * 8)) + 1
    seeds = da.from_array(np.arange(count)[:, None], chunks=1)
    a = seeds.map_blocks(block_of, rows, columns, chunks=((rows,) * count, (columns,)), meta=np.empty((0, 0)))
    assert a.nbytes > times * LIMIT
    return a


of_sizes = pytest.mark.parametrize("times", [1.1, pytest.param(4, marks=pytest.mark.slow)])


@of_sizes
def test_a_product_of_more_than_memory(client, times):
    """Of the Gram matrix of a tall array; of which nothing is written to disk, and little is held at once."""
    a = larger_than_memory(times, 2000, 512)
    with little_memory(client, GROWTH):
        w, info = lowrank.cr_matmul(a.T, a, 2000, rng=7, return_info=True)
        found = w.compute()
    rows = {block: block_of(np.array([block]), 2000, 512) for block in set(info.indices // 2000)}
    chosen = np.stack([rows[i // 2000][i % 2000] for i in info.indices])
    np.testing.assert_allclose(found, (chosen * info.weights[:, None]).T @ chosen, rtol=1e-9, atol=1e-6)
    assert info.relative_error == pytest.approx(math.sqrt(512 / 2000), rel=0.5)


@of_sizes
def test_singular_values_of_more_than_memory(client, times):
    a = larger_than_memory(times, 2000, 512)
    with little_memory(client, GROWTH):
        u, s, _ = dask.compute(*lowrank.randomized_svd(a, 2, iterations=1, rng=0))
    assert u.shape == (len(a), 2)
    np.testing.assert_allclose(np.linalg.norm(u, axis=0), 1, rtol=1e-9)
    assert s == pytest.approx(math.sqrt(len(a)), rel=0.1)
