"""The guard that holds BLAS to one thread: however its holders overlap, the last one restores what was before."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading

import pytest

pytest.importorskip("numba", reason="Numba is not installed")

import numpy as np
import threadpoolctl

from kernels.blas import one_thread, operand


def blas_threads():
    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def _two_threads():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        if not blas_threads() or set(blas_threads()) != {2}:
            pytest.skip("no BLAS whose threads can be set")
        yield


def test_it_limits_and_restores():
    with one_thread():
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {2}


def test_it_restores_after_an_error():
    with contextlib.suppress(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert set(blas_threads()) == {2}


def test_holders_that_are_nested_or_leave_in_the_order_they_came():
    first, second = one_thread(), one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(blas_threads()) == {1}
    second.__exit__(None, None, None)
    assert set(blas_threads()) == {2}


def test_holders_in_many_threads():
    barrier = threading.Barrier(8)
    seen = []

    def hold():
        barrier.wait()
        for _ in range(50):
            with one_thread():
                seen.append(max(blas_threads()))

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 400
    assert set(seen) == {1}
    assert set(blas_threads()) == {2}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_never_inherits_a_taken_lock():
    """Forked while another thread keeps entering and leaving, a child can still hold the guard."""
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            with one_thread():
                pass

    def enter_and_leave():
        with one_thread():
            pass

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=enter_and_leave) for _ in range(10)]
        for child in children:
            child.start()
            child.join(30)
        assert [child.exitcode for child in children] == [0] * 10
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "array",
    [np.ones((3, 4)), np.ones((4, 3)).T, np.broadcast_to(np.ones(4), (3, 4)), np.ones((6, 8))[::-2, ::2]],
    ids=["contiguous", "transposed", "broadcast", "sliced"],
)
def test_operands_are_all_of_one_kind(array):
    result = operand(array)
    assert np.array_equal(result, array)
    assert result.flags.c_contiguous
    assert result.flags.aligned
    assert not result.flags.writeable
    unaligned = np.zeros(8 * 3 + 1, np.uint8)[1:].view(np.float64)
    assert operand(unaligned).flags.aligned


def test_operand_leaves_its_argument_as_it_was():
    array = np.ones(3)
    operand(array)
    assert array.flags.writeable
