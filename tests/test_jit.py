"""Numba's cache and threads: never a stale binary, no error for want of a cache, safe in threads and after fork."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="Numba is not installed")

import kernels
from kernels import primes
from kernels.jit import jit, limit_threads, n_threads, source_stamp, thread_map

CALLEE = "from kernels.jit import jit\nfrom toypack.constants import STEP\n\n@jit\ndef f(x):\n    return x + STEP\n"
CALLER = "from kernels.jit import jit\nfrom toypack.callee import f\n\n@jit\ndef g(x):\n    return 10 * f(x)\n"
MAIN = """
import warnings
from toypack.caller import g
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    value = g(1)
print(value, sum(g.stats.cache_hits.values()), len(caught), *[w.message for w in caught])
"""


@pytest.fixture
def pack(tmp_path):
    """A package of three modules, and a way to run it in a fresh process."""
    folder = tmp_path / "toypack"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "constants.py").write_text("STEP = 1\n")
    (folder / "callee.py").write_text(CALLEE)
    (folder / "caller.py").write_text(CALLER)

    def run(cache=tmp_path / "cache"):
        path = os.pathsep.join([str(tmp_path), str(Path(kernels.__file__).parent.parent)])
        environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", MAIN], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        value, hits, warned, *text = done.stdout.split(maxsplit=3)
        return int(value), int(hits), int(warned), " ".join(text)

    run.folder = folder
    run.cache = tmp_path / "cache"
    return run


def test_cache_answers_in_the_next_process(pack):
    assert pack()[:2] == (20, 0)
    assert pack()[:2] == (20, 1)


@pytest.mark.parametrize(("file", "old", "new"), [("callee.py", "x + STEP", "x - STEP"), ("constants.py", "1", "5")])
def test_a_change_in_another_file_is_never_answered_by_a_stale_binary(pack, file, old, new):
    pack()
    changed = pack.folder / file
    stamp = changed.stat()
    text = changed.read_text()
    changed.write_text(text.replace(old, new))
    os.utime(
        changed, ns=(stamp.st_atime_ns, stamp.st_mtime_ns)
    )  # as an unpacked archive or a git checkout may leave it
    assert pack()[:2] == ({"callee.py": 0, "constants.py": 60}[file], 0)
    changed.write_text(text)
    assert pack()[:2] == (20, 1)


def test_cache_that_cannot_be_written(pack, tmp_path):
    (tmp_path / "file").write_text("")
    value, hits, warned, text = pack(cache=tmp_path / "file" / "below")
    assert (value, hits, warned) == (20, 0, 2)
    assert "are not kept" in text


def test_cache_that_was_cut_short(pack):
    pack()
    damaged = [path for path in pack.cache.rglob("*") if path.suffix in (".nbc", ".nbi")]
    assert damaged
    for path in damaged:
        os.truncate(path, path.stat().st_size // 2)
    assert pack()[:2] == (20, 0)
    assert pack()[:2] == (20, 1)


def test_stamp_follows_imports_alone():
    folder = Path(kernels.__file__).parent / "primes"
    assert source_stamp(folder / "on_numba.py").startswith("on_numba-")
    from kernels.jit import _sources

    names = {path.name for path in _sources(folder / "on_numba.py")}
    assert {"on_numba.py", "wheel30.py", "jit.py"} <= names
    assert "on_numpy.py" not in names


def test_thread_map_keeps_order_and_errors():
    assert thread_map(lambda x: x * x, range(20)) == [x * x for x in range(20)]
    with pytest.raises(ZeroDivisionError):
        thread_map(lambda x: 1 // x, [1, 0])


def test_limit_threads():
    with limit_threads(1):
        assert n_threads() == 1
        seen = thread_map(lambda _: threading.get_ident(), range(4))
        assert set(seen) == {threading.get_ident()}
    with limit_threads(10**6):
        assert n_threads() < 10**6


def test_number_of_threads_follows_the_environment():
    code = "from kernels.jit import n_threads; print(n_threads())"
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).stdout.strip() == b"1"


def test_calls_from_several_threads():
    @jit
    def twice(x):
        return 2 * x

    results = []
    threads = [threading.Thread(target=lambda: results.append(twice(21))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [42] * 8
    results.clear()
    threads = [
        threading.Thread(target=lambda: results.append(primes.count_between(10**9, 10**9 + 10**7, backend="numba")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == {primes.count_between(10**9, 10**9 + 10**7, backend="numpy")}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_after_fork():
    """A child that is forked after threads have run computes with threads of its own."""
    arguments = (10**9, 10**9 + 10**8)
    expected = primes.count_between(*arguments, backend="numba")
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(primes.count_between(*arguments, backend="numba")))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert queue.get() == expected
