"""What is Dask's own in the primes: laziness, chunks, clusters of several sizes, a worker that dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

import numpy as np  # noqa: E402

import kernels  # noqa: E402
from kernels import primes  # noqa: E402
from kernels.chunk_tasks import on_one_thread  # noqa: E402
from kernels.primes import on_dask  # noqa: E402

SMALL_CHUNKS = {"array.chunk-size": "64 KiB"}
SMALL_SEGMENTS = {"backbench.primes.segment": 50_000}
RANGES = [(0, 0), (0, 3), (2, 3), (7, 7), (0, 300_000), (299_977, 600_011), (10**12, 10**12 + 10**6)]


@pytest.fixture(scope="module")
def client():
    # A LocalCluster gives up a worker that is away at the end of this time, even if that is for a second death.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        distributed.LocalCluster(2, threads_per_worker=1, memory_limit="1 GiB", dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def no_client():
    """Dask as it is where nobody started a cluster, also while the module's cluster runs."""
    with dask.config.set(scheduler="threads"):
        yield


def scale(client, n):
    client.cluster.scale(n)
    deadline = time.monotonic() + 60
    while len(client.nthreads()) != n:
        assert time.monotonic() < deadline, f"no cluster of {n} workers within a minute"
        time.sleep(0.05)


@pytest.mark.usefixtures("no_client")
class TestArrays:
    @pytest.mark.parametrize(("start", "stop"), RANGES)
    def test_between(self, start, stop):
        with dask.config.set(SMALL_CHUNKS):
            found = primes.between(start, stop, backend="dask")
            assert found.dtype == np.int64
            assert all(type(size) is int for size in found.chunks[0])
            np.testing.assert_array_equal(found.compute(), primes.between(start, stop, backend="numpy"))
            assert [len(block.compute()) for block in found.blocks] == list(found.chunks[0])

    @pytest.mark.parametrize("limit", [0, 1, 2, 3, 4, 65_536, 65_537, 300_007])
    def test_sieve_and_below(self, limit):
        with dask.config.set(SMALL_CHUNKS):
            for function in (primes.sieve, primes.below):
                found = function(limit, backend="dask")
                dense = function(limit, backend="numpy")
                assert found.shape == dense.shape
                assert found.dtype == dense.dtype
                np.testing.assert_array_equal(found.compute(), dense)

    def test_nothing_is_listed_before_compute(self, monkeypatch):
        def refuse(*arguments):
            raise AssertionError("a chunk was computed")

        monkeypatch.setattr(on_dask, "_listing", refuse)
        found = primes.below(10**6, backend="dask")
        assert dask.is_dask_collection(found)
        assert found.shape == (78_498,)
        with pytest.raises(AssertionError, match="a chunk was computed"):
            found.compute()

    def test_chunks_are_sized_in_bytes(self):
        with dask.config.set(SMALL_CHUNKS):
            for found in (primes.sieve(10**6, backend="dask"), primes.below(10**7, backend="dask")):
                sizes = [size * found.dtype.itemsize for size in found.chunks[0]]
                assert max(sizes) <= 1.01 * 2**16
                assert min(sizes[:-1]) >= 0.9 * 2**16

    def test_a_chunk_is_one_task(self):
        with dask.config.set(SMALL_CHUNKS):
            found = primes.below(10**6, backend="dask")
        assert len(dask.optimize(found)[0].dask) == found.npartitions

    def test_too_many_chunks_are_refused_at_once(self):
        for function in (primes.sieve, primes.below):
            with pytest.raises(MemoryError, match=r"chunks.*array\.chunk-size"):
                function(2**63, backend="dask")

    def test_names_tell_arrays_apart(self):
        one, same, other = (primes.below(limit, backend="dask").name for limit in (100, 100, 101))
        assert one == same != other


@pytest.mark.usefixtures("no_client")
class TestScalars:
    @pytest.mark.parametrize(("start", "stop"), RANGES)
    def test_segments_of_any_length(self, start, stop):
        for step in (None, 77_777):
            with dask.config.set({"backbench.primes.segment": step}):
                for function in (primes.count_between, primes.sum_between):
                    assert function(start, stop, backend="dask") == function(start, stop, backend="numpy")

    def test_sums_pass_64_bits(self):
        start, stop = 10**18, 10**18 + 3000
        with dask.config.set({"backbench.primes.segment": 1000}):
            total = primes.sum_between(start, stop, backend="dask")
        assert type(total) is int
        assert total == sum(primes.between(start, stop, backend="python")) > 2**64

    def test_scalars_of_one_task(self):
        for function in (primes.count_below, primes.sum_below, primes.nth, primes.sum_first):
            assert function(5000, backend="dask") == function(5000, backend="python")

    def test_huge_limits_are_shared_out(self, monkeypatch):
        pytest.importorskip("numba")
        monkeypatch.setattr(on_dask, "HUGE", 5 * 10**8)
        assert primes.count_below(10**9, backend="dask") == 50_847_534
        assert primes.sum_below(10**9, backend="dask") == 24_739_512_092_254_535
        assert primes.nth(50_847_534, backend="dask") == 999_999_937
        assert primes.sum_first(50_847_534, backend="dask") == 24_739_512_092_254_535

    def test_the_preference_for_dask_does_not_reach_the_tasks(self, monkeypatch):
        monkeypatch.setenv("BACKBENCH_BACKEND", "dask")
        with kernels.use_backend("dask"):
            assert primes.count_between(0, 100) == 25

    def test_a_task_keeps_to_one_thread(self):
        jit = pytest.importorskip("kernels.jit")
        assert on_one_thread("numba", lambda backend: jit.n_threads()) == 1

    @pytest.mark.parametrize("threads", [1, 3, 64])
    def test_segments_are_even_and_worth_a_task(self, threads, monkeypatch):
        monkeypatch.setattr(kernels.registry.BUILT_IN["dask"].__class__, "threads", lambda self: threads)
        for start, stop in [(0, 10**6), (0, 10**9), (10**12, 10**12 + 10**11), (10**18, 10**18 + 10**10), (0, 10**17)]:
            windows = on_dask._segments(start, stop)
            assert windows[0][0] == start
            assert windows[-1][1] == stop
            assert all(low < high for low, high in windows)
            assert all(left[1] == right[0] for left, right in pairwise(windows))
            assert len(windows) <= 2 * on_dask.MOST_TASKS
            assert len(windows) == 1 or windows[0][1] - windows[0][0] >= max(on_dask.LEAST, 0.99 * stop**0.5)


class Killer(distributed.WorkerPlugin):
    """Kills the first worker that has finished `after` tasks, once: the file, of which there can be one, says which."""

    name = "killer"

    def __init__(self, file: Path, after: int) -> None:
        self.file = file
        self.after = after

    def transition(self, key, start, finish, **_):
        if start == "executing" and finish == "memory":
            self.after -= 1
            if self.after == 0:
                with contextlib.suppress(FileExistsError):
                    with self.file.open("x") as file:
                        file.write(str(os.getpid()))
                    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("n", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_a_worker_that_is_killed_changes_nothing(client, n, tmp_path):
    scale(client, n)
    start, stop = 10**12, 10**12 + 2 * 10**6
    with dask.config.set({"backbench.primes.segment": 20_000}):
        before = set(client.run(os.getpid).values())
        client.register_plugin(Killer(tmp_path / "killed", after=10))
        try:
            count = primes.count_between(start, stop, backend="dask")
        finally:
            client.unregister_worker_plugin("killer")
    killed = int((tmp_path / "killed").read_text())
    client.wait_for_workers(n, timeout=60)
    assert killed in before
    assert killed not in client.run(os.getpid).values()
    assert count == len(primes.between(start, stop, backend="numpy"))


@pytest.mark.parametrize("n", [4, 2, 1])
def test_the_same_over_any_number_of_workers(client, n, monkeypatch):
    scale(client, n)
    start, stop = 10**12, 10**12 + 10**6
    dense = primes.between(start, stop, backend="numpy")
    with dask.config.set(SMALL_CHUNKS | SMALL_SEGMENTS):
        assert primes.count_between(start, stop, backend="dask") == len(dense)
        assert primes.sum_between(start, stop, backend="dask") == sum(map(int, dense))
        np.testing.assert_array_equal(primes.between(start, stop, backend="dask").compute(), dense)
        np.testing.assert_array_equal(
            primes.sieve(200_000, backend="dask").compute(), primes.sieve(200_000, backend="numpy")
        )
    assert primes.count_below(10**7, backend="dask") == 664_579
    assert primes.sum_below(10**7, backend="dask") == 3_203_324_994_356
    assert primes.nth(10**5, backend="dask") == 1_299_709
    assert primes.sum_first(10**5, backend="dask") == 62_260_698_721
    if find_spec("numba"):
        monkeypatch.setattr(on_dask, "HUGE", 10**9)
        assert primes.count_below(10**9, backend="dask") == 50_847_534
    assert sum(client.nthreads().values()) == n


def test_a_call_from_within_a_task_does_not_wait_for_its_own_thread(client):
    scale(client, 1)
    future = client.submit(primes.count_between, 0, 100, backend="dask", pure=False)
    assert future.result(timeout=60) == 25


def test_an_asynchronous_client_is_refused(client):
    async def call():
        async with distributed.Client(client.cluster.scheduler_address, asynchronous=True):
            return primes.count_between(0, 100, backend="dask")

    with pytest.raises(RuntimeError, match="asynchronous Client"):
        asyncio.run(call())
