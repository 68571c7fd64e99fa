"""The base of the benchmarks: no time without a right result, and a reason for every cell without a time."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest


@pytest.fixture
def common(monkeypatch, tmp_path):
    (tmp_path / "results" / "machine").mkdir(parents=True)
    (tmp_path / "results" / "machine" / "machine.json").write_text("{}")
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent))
    monkeypatch.setenv("ASV_CONF_DIR", str(tmp_path))
    monkeypatch.setenv("ASV_COMMIT", "0123456789abcdef")
    monkeypatch.setenv("ASV_ENV_NAME", "here")
    yield importlib.import_module("benchmarks.common")
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


def benchmark(common, name, expected):
    case = common.Case((10,), expected)
    return type("Benchmark", (common.Kernel,), {"function": name, "cases": dict.fromkeys(common.SIZES, case)})()


def reasons(tmp_path):
    text = (tmp_path / "results" / "machine" / "reasons-01234567-here.jsonl").read_text()
    return [(line["state"], line["reason"]) for line in map(json.loads, text.splitlines())]


def test_a_right_result_is_timed(common, tmp_path):
    cell = benchmark(common, "primes.nth", 29)
    cell.setup("python", "small")
    assert reasons(tmp_path) == [("failed", "TimeoutError: it timed out or died")]
    cell.time_call("python", "small")
    cell.teardown("python", "small")
    assert reasons(tmp_path) == []


def test_a_wrong_result_is_not_timed(common, tmp_path):
    with pytest.raises(AssertionError, match="gave 29 instead of 30"):
        benchmark(common, "primes.nth", 30).setup("python", "small")
    assert reasons(tmp_path) == [("failed", "AssertionError: primes.nth on python gave 29 instead of 30")]


@pytest.mark.parametrize("name", ["primes.no_such_function", "no_such_core.nth"])
def test_a_function_that_a_commit_does_not_have_is_skipped(common, tmp_path, name):
    with pytest.raises(NotImplementedError, match="this commit does not have it"):
        benchmark(common, name, 29).setup("python", "small")
    assert reasons(tmp_path)[0][0] == "skipped"


def test_a_backend_that_is_missing_is_skipped(common, monkeypatch):
    from kernels.registry import BUILT_IN

    monkeypatch.setattr(BUILT_IN["sparse"], "why_not", lambda: "it is not here", raising=True)
    with pytest.raises(NotImplementedError, match="it is not here"):
        benchmark(common, "primes.nth", 29).setup("sparse", "small")


def test_the_clock_waits_for_the_backend(common):
    waited = []
    clock = common.Clock()
    clock.synchronize = lambda: waited.append(True)
    assert clock() <= clock()
    assert len(waited) == 2
