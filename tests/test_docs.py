"""The examples of the docstrings and of README are what they say."""

from __future__ import annotations

import doctest
import importlib
import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="NumPy is not installed")

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.parametrize(
    "module",
    ["kernels.primes", "kernels.ndarray", "kernels.lowrank", "kernels.registry", "kernels.dispatch", "kernels.explain"],
)
def test_docstrings(module):
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner()
    loaded = importlib.import_module(module)
    for name in loaded.__all__:
        for test in finder.find(getattr(loaded, name), f"{module}.{name}"):
            if test.examples:
                assert runner.run(test).failed == 0
    assert runner.tries or module == "kernels.explain"


def test_readme():
    pytest.importorskip("dask", reason="Dask is not installed")
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile(block, str(README), "exec"), {})
    for call, value in re.findall(r"^(primes\.\S+\(\S+\)) +# (\d+)", block, flags=re.MULTILINE):
        assert eval(call, {"primes": importlib.import_module("kernels.primes")}) == int(value)


def test_the_network_in_the_examples(capsys):
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    example = README.parent / "examples" / "temporal_convolutional_network.py"
    runpy.run_path(str(example), run_name="__main__")
    assert "the receptive field is 125" in capsys.readouterr().out
