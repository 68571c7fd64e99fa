"""The table in README is the one that the code makes; the benchmarks know the same backends and functions."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from kernels import capabilities
from kernels.dispatch import CONTRACTS
from kernels.registry import BUILT_IN

ROOT = Path(__file__).parent.parent


def test_readme_is_up_to_date():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == capabilities.updated(text), "run: python -m kernels.capabilities README.md"


def test_every_cell_is_filled():
    for function, row in capabilities.table().items():
        assert list(row) == list(BUILT_IN)
        missing = [backend for backend, note in row.items() if note is None]
        assert not missing, f"{function} lacks {missing}"


def test_drift_is_seen():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    stale = text.replace("✔", "–", 1)
    assert stale != text == capabilities.updated(stale)
    with pytest.raises(ValueError, match="has no lines"):
        capabilities.updated("no table here")


def test_implementations_define_no_other_public_functions():
    """A misspelt name in an ``on_*.py`` would be a function that nobody can call."""
    import ast

    for core in sorted({this.core for this in CONTRACTS.values() if this.core.startswith("kernels.")}):
        known = {this.name for this in CONTRACTS.values() if this.core == core}
        folder = ROOT.joinpath(*core.split("."))
        for path in folder.glob("on_*.py"):
            defined = {node.name for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.FunctionDef)}
            assert {name for name in defined if not name.startswith("_")} <= known, path


def test_benchmarks_cover_every_function_and_backend(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    common = importlib.import_module("benchmarks.common")
    assert list(BUILT_IN) == common.BACKENDS
    for path in (ROOT / "benchmarks").glob("[a-z]*.py"):
        if path.stem != "common":
            importlib.import_module(f"benchmarks.{path.stem}")
    waiting, timed = [common.Kernel], set()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if isinstance(kind.function, str):
            timed.add(kind.function)
            assert list(kind.cases) == common.SIZES
    assert timed == {name for name, this in CONTRACTS.items() if this.core.startswith("kernels.")}
    for name in [name for name in sys.modules if name.startswith("benchmarks")]:
        del sys.modules[name]
