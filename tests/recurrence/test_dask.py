"""What is Dask's own in the recurrences: chunks of any kind, states between them, laziness, memory, schedulers."""

from __future__ import annotations

import importlib.util
import itertools

import pytest

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

import dask.array as da  # noqa: E402
import numpy as np  # noqa: E402
from hypothesis import Phase, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from kernels import recurrence  # noqa: E402
from kernels.recurrence import chunked_scans, chunked_summaries  # noqa: E402

rng = np.random.default_rng(20261120)
DTYPES = ["float16", "float32", "float64", "complex64", "complex128"]
SHAPES = [(17,), (0,), (1,), (13, 5), (3, 19, 4), (4, 1, 1)]
has_numba = importlib.util.find_spec("numba") is not None


def normal(*shape, dtype="float64"):
    values = rng.normal(size=shape) + (1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else 0)
    return np.asarray(values).astype(dtype)


def examples(count):
    """Without shrinking what fails, which takes hours with graphs."""
    return settings(max_examples=count, deadline=None, phases=[Phase.generate])


def chunkings(length):
    """Sizes of chunks that add up to `length`, some of them 0."""
    cuts = st.lists(st.integers(0, length), max_size=4).map(sorted)
    return cuts.map(lambda cuts: tuple(b - a for a, b in itertools.pairwise([0, *cuts, length])))


def in_any_chunks(data, *arrays):
    """None and numbers as they are."""
    return [
        da.from_array(value, chunks=tuple(data.draw(chunkings(length)) for length in value.shape))
        if isinstance(value, np.ndarray)
        else value
        for value in arrays
    ]


def factors(data, shape, dtype):
    """Numbers, or an array of any shape that can be broadcast."""
    if data.draw(st.booleans()):
        return data.draw(st.sampled_from([0.75, 0.0, -1.0, 1]))
    own = tuple(data.draw(st.sampled_from([1, length])) for length in shape)
    return normal(*own[data.draw(st.integers(0, len(own))) :], dtype=dtype) / 2


def states(data, shape, dtype):
    return normal(*shape[:-2], *shape[-1:] * (len(shape) > 1), dtype=dtype) if data.draw(st.booleans()) else None


def ways(data, shape):
    lengths = None
    if len(shape) == 3 and data.draw(st.booleans()):
        lengths = [data.draw(st.integers(0, shape[1])) for _ in range(shape[0])]
    return {"reverse": data.draw(st.booleans()), "lengths": lengths}


def beyond(lengths, *series):
    """The series with NaN where no sequence is."""
    for values in series if lengths else ():
        values[np.arange(values.shape[1]) >= np.array(lengths)[:, None]] = np.nan
    return series


def check(found, wanted, dtype):
    """Lazy arrays, each of whose blocks is as its chunks say, of these values."""
    precision = {"e": 1e-2, "f": 1e-4, "F": 1e-4}.get(np.dtype(dtype).char, 1e-9)
    for lazy, values in zip(found, wanted, strict=True):
        assert isinstance(lazy, da.Array)
        assert (lazy.shape, lazy.dtype) == (np.shape(values), np.dtype(dtype))
        blocks = dask.compute(*np.ravel(lazy.to_delayed()))
        assert [np.shape(block) for block in blocks] == [*itertools.product(*lazy.chunks)]
        assert {block.dtype for block in blocks} == {np.dtype(dtype)}
        np.testing.assert_allclose(lazy.compute(), values, rtol=precision, atol=precision)


@pytest.fixture(autouse=True)
def own_scheduler(request):
    """Dask as it is where nobody started a cluster, also while the module's cluster runs."""
    with dask.config.set(scheduler=None if "client" in request.fixturenames else "synchronous"):
        yield


@pytest.fixture(params=["by summaries", "one after another"])
def states_come(request, monkeypatch):
    """Which of the two ways is gone, else told by the number of threads; and summaries are made of small pieces."""
    threads = 1000 if request.param == "by summaries" else 1
    monkeypatch.setattr(type(chunked_scans.BUILT_IN["dask"]), "threads", lambda backend: threads)
    monkeypatch.setattr(chunked_summaries, "PIECE", 6)
    monkeypatch.setattr(chunked_summaries, "STEPS", 2)


either_way = pytest.mark.usefixtures("states_come")
of_shapes = pytest.mark.parametrize("shape", SHAPES)
of_dtypes = pytest.mark.parametrize("dtype", DTYPES)


# Any chunks


@either_way
@of_dtypes
@of_shapes
@given(data=st.data())
@examples(6)
def test_scans_in_any_chunks(shape, dtype, data):
    a, state, options = factors(data, shape, dtype), states(data, shape, dtype), ways(data, shape)
    (b,) = beyond(options["lengths"], normal(*shape, dtype=dtype))
    wanted = recurrence.linear_scan(a, b, state, return_final=True, **options, backend="numpy")
    arrays = in_any_chunks(data, a, b, state)
    check(recurrence.linear_scan(*arrays, return_final=True, **options), wanted, dtype)
    check([recurrence.linear_scan(*arrays, **options)], wanted[:1], dtype)


@either_way
@of_dtypes
@of_shapes
@given(data=st.data())
@examples(6)
def test_gradients_in_any_chunks(shape, dtype, data):
    a, options = factors(data, shape, dtype), ways(data, shape)
    state, g_final = states(data, shape, dtype), states(data, shape, dtype)
    h = recurrence.linear_scan(a, normal(*shape, dtype=dtype), state, **options, backend="numpy")
    (g,) = beyond(options["lengths"], normal(*shape, dtype=dtype))
    wanted = recurrence.linear_scan_vjp(a, h, g, state, g_final=g_final, **options, backend="numpy")
    a, h, g, state, g_final = in_any_chunks(data, a, h, g, state, g_final)
    check(recurrence.linear_scan_vjp(a, h, g, state, g_final=g_final, **options), wanted, dtype)


@either_way
@pytest.mark.parametrize("dtype", DTYPES[1:])
@of_shapes
@given(data=st.data())
@examples(3)
def test_events_and_units_of_one_factor_in_any_chunks(shape, dtype, data):
    a = data.draw(st.sampled_from([0.5, normal(*shape[1:][-1:], dtype=dtype) / 2, normal(1, dtype=dtype) / 2]))
    b, state = normal(*shape, dtype=dtype), states(data, shape, dtype)
    b[rng.random(shape) < 0.6] = 0
    lazy = in_any_chunks(data, a, b, state)
    check([recurrence.event_scan(*lazy[:2])], [recurrence.event_scan(a, b, backend="numpy")], dtype)
    check([recurrence.lru(*lazy)], [recurrence.lru(a, b, state, backend="numpy")], dtype)


@either_way
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@of_shapes
@given(data=st.data())
@examples(3)
def test_gated_layers_in_any_chunks(shape, dtype, data):
    x, o = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype) if data.draw(st.booleans()) else None
    f = rng.random(shape).astype(dtype)
    state = states(data, shape, dtype)
    wanted = recurrence.qrnn(x, f, o, state, backend="numpy")
    check(recurrence.qrnn(*in_any_chunks(data, x, f, o, state)), wanted, dtype)
    if len(shape) > 1:
        n = shape[-1]
        v = normal(2, n, dtype=dtype) if data.draw(st.booleans()) else None
        arguments = x, normal(n, 3 * n, dtype=dtype), normal(2, n, dtype=dtype), v, state
        wanted = recurrence.sru(*arguments, backend="numpy")
        check(recurrence.sru(*in_any_chunks(data, *arguments)), wanted, dtype)


# States between chunks


@either_way
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("a", [1e30, 0.0, -2.0, 1e-30])
@pytest.mark.parametrize("value", [np.inf, np.nan, 0.0, 1.0])
def test_what_is_not_finite_stays_in_its_feature(value, a, reverse):
    """Also where the product of a chunk's factors overflows, and the state before it is 0."""
    b = np.zeros((60, 3))
    b[31, 1] = value
    b[50, 2] = 1.0
    factors = np.full_like(b, a)
    factors[45] = 0.5
    for given_a in (factors, a):
        wanted = recurrence.linear_scan(given_a, b, reverse=reverse, return_final=True, backend="numpy")
        lazy_a = da.from_array(given_a, chunks=7) if given_a is factors else given_a
        found = recurrence.linear_scan(lazy_a, da.from_array(b, chunks=7), reverse=reverse, return_final=True)
        for lazy, values in zip(dask.compute(*found), wanted, strict=True):
            np.testing.assert_allclose(lazy, values)


@either_way
def test_half_precision_is_carried_in_single():
    """A sum of ones in half precision stays at 2048."""
    found = recurrence.linear_scan(1, da.ones(5000, dtype="float16", chunks=1), return_final=True)
    assert [array.dtype for array in found] == [np.float16] * 2
    assert found[1].compute() == 5000


def test_a_state_may_be_a_number():
    b = da.ones(9, chunks=4)
    h, final = recurrence.linear_scan(1.0, b, 3.0, return_final=True)
    np.testing.assert_array_equal(h, np.arange(4.0, 13))
    assert final.compute() == 12
    gradients = recurrence.linear_scan_vjp(1.0, h, b, 3.0, g_final=1.0)
    assert gradients.dh0.compute() == 10


# Graphs


def test_chunks_are_kept_and_nothing_is_computed():
    def never(block):
        raise AssertionError("computed")

    b = da.zeros((4, 60, 6), chunks=((1, 3), (10, 50), (4, 2))).map_blocks(never, meta=np.empty((0, 0, 0)))
    h, final = recurrence.linear_scan(b, b, b[:, 0], return_final=True)
    assert h.chunks == b.chunks
    assert final.chunks == ((1, 3), (4, 2))
    gradients = recurrence.linear_scan_vjp(b[0, :, :1], h, b)
    assert gradients.db.chunks == b.chunks
    assert gradients.da.chunks == ((10, 50), (1,))
    assert recurrence.qrnn(b, b, b).h.chunks == b.chunks
    assert recurrence.event_scan(0.5, b).chunks == b.chunks
    w = da.zeros((6, 18))
    assert recurrence.sru(b, w, w[:2, :6]).c.chunks == ((1, 3), (10, 50), (6,))


def test_a_chunk_asks_only_for_those_before_it(monkeypatch):
    monkeypatch.setattr(type(chunked_scans.BUILT_IN["dask"]), "threads", lambda backend: 8)
    read = []

    def noted(block, block_info=None):
        read.append(block_info[None]["chunk-location"][0])
        return block

    b = da.ones((60, 2), chunks=(10, 2)).map_blocks(noted, dtype=float)
    np.testing.assert_array_equal(recurrence.linear_scan(1, b)[25:35], np.arange(26.0, 36)[:, None].repeat(2, 1))
    assert sorted(read) == [0, 1, 2, 3]


def test_tasks_call_numba_where_it_is_worth_it():
    names = [recurrence_backend(da.ones((size, 2), chunks=(5, 2))) for size in (10, 10**6)]
    assert names == ["numpy", "numba" if has_numba else "numpy"]


def recurrence_backend(b):
    graph = recurrence.linear_scan(0.5, b).__dask_graph__()
    layer = next(layer for name, layer in graph.layers.items() if name.count("-") == 1 and "recurrence" in name)
    return next(task[0].keywords["way"].backend for key, task in layer.items() if key[1] == "step")


# Schedulers and memory


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(2, threads_per_worker=1, memory_limit=LIMIT, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


LIMIT = 10**9  # a worker takes 400 MB before it has done anything, once Numba has compiled


def check_all():
    a, b, g = normal(3, 50, 4) / 2, normal(3, 50, 4), normal(3, 50, 4)
    lazy = [da.from_array(array, chunks=(3, 7, 4)) for array in (a, b, g)]
    options = {"lengths": [50, 20, 0], "reverse": True}
    h, final = recurrence.linear_scan(a, b, return_final=True, **options, backend="numpy")
    found = recurrence.linear_scan(*lazy[:2], return_final=True, **options)
    check(found, (h, final), float)
    wanted = recurrence.linear_scan_vjp(a, h, g, **options, backend="numpy")
    check(recurrence.linear_scan_vjp(lazy[0], found[0], lazy[2], **options), wanted, float)
    check(recurrence.qrnn(*lazy), recurrence.qrnn(a, b, g, backend="numpy"), float)
    weights = normal(4, 12), normal(2, 4), normal(2, 4)
    for count in (2, 3):
        wanted = recurrence.sru(a, *weights[:count], backend="numpy")
        check(recurrence.sru(lazy[0], *map(da.from_array, weights[:count])), wanted, float)
    check([recurrence.event_scan(0.5, lazy[1])], [recurrence.event_scan(0.5, b, backend="numpy")], float)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_own_schedulers(scheduler):
    with dask.config.set(scheduler=scheduler):
        check_all()


def test_cluster(client):
    assert dask.base.get_scheduler() == client.get
    check_all()


def block_of(seed, steps, features):
    """Of random numbers that any block is made of anew."""
    return np.random.default_rng(int(seed.ravel()[0])).normal(size=(steps, features))


def larger_than_memory(times, steps, features):
    """A long series of so many times what a worker may hold."""
    count = int(times * LIMIT / (steps * features * 8)) + 1
    seeds = da.from_array(np.arange(count)[:, None], chunks=1)
    b = seeds.map_blocks(block_of, steps, features, chunks=((steps,) * count, (features,)), meta=np.empty((0, 0)))
    assert b.nbytes > times * LIMIT
    return b


def last_states(b, a):
    """Of a scan, at the end of each chunk."""
    ends, state = [], np.zeros(b.shape[1])
    for i, steps in enumerate(b.chunks[0]):
        state = recurrence.linear_scan(a, block_of(np.array([i]), steps, len(state)), state, backend="numpy")[-1]
        ends.append(state)
    return np.array(ends)


of_sizes = pytest.mark.parametrize("times", [1.1, pytest.param(4, marks=pytest.mark.slow)])


@of_sizes
def test_a_scan_of_more_than_memory(client, times):
    """Which Dask may write to disk in part: workers read ahead of the chain of states where that is slower."""
    b = larger_than_memory(times, 2000, 512)
    h = recurrence.linear_scan(0.999, b)
    ends = h.map_blocks(lambda block: block[-1:], chunks=((1,) * b.numblocks[0], b.chunks[1])).compute()
    np.testing.assert_allclose(ends, last_states(b, 0.999), rtol=1e-9, atol=1e-9)


@of_sizes
def test_a_gradient_of_more_than_memory(client, times):
    b = larger_than_memory(times, 2000, 512)
    gradients = recurrence.linear_scan_vjp(0.999, b, b)
    found = dask.compute(gradients.da, gradients.dh0)
    # The gradient of the state before a chunk is what the chunk is given beside its own.
    back, of_a = np.zeros(512), 0.0
    for i in range(b.numblocks[0])[::-1]:
        h = block_of(np.array([i]), 2000, 512)
        before = block_of(np.array([i - 1]), 2000, 512)[-1] if i else None
        part, _, back = recurrence.linear_scan_vjp(0.999, h, h, before, g_final=back, backend="numpy")
        of_a += part
    assert found[0] == pytest.approx(of_a, rel=1e-9)
    np.testing.assert_allclose(found[1], back, rtol=1e-9, atol=1e-9)
