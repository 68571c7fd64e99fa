"""What `import kernels` does, and what it must not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kernels

HEAVY = ["numpy", "numba", "scipy", "cupy", "dask", "distributed", "sparse", "importlib.metadata"]


def run(code, cwd=None, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )


def test_no_backend_and_no_numpy():
    loaded = run(f"import sys, kernels; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded.stdout.strip() == "[]", loaded.stderr


def test_explaining_loads_no_backend():
    code = "import sys, kernels; kernels.explain('primes.sum_below', 10**9); kernels.explain('primes.below', 10)"
    loaded = run(f"{code}; print([m for m in ['numpy', 'numba', 'dask', 'sparse'] if m in sys.modules])")
    assert loaded.stdout.strip() == "[]", loaded.stderr


def test_import_takes_fifty_milliseconds():
    if sys.implementation.name != "cpython" or sys.gettrace():
        pytest.skip("stated for CPython without tracing")
    kernels_dir = str(Path(kernels.__file__).parent.parent)

    def seconds(code):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-c", code], check=True)
        return time.perf_counter() - start

    path = f"import sys; sys.path.insert(0, {kernels_dir!r})"
    bare, loaded = zip(*((seconds(path), seconds(f"{path}; import kernels")) for _ in range(9)), strict=True)
    assert min(loaded) - min(bare) < 0.050


def test_another_package_of_the_same_name(tmp_path):
    """The index has another distribution whose import name is `kernels`; both installed in one place is refused."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "kernels").symlink_to(Path(kernels.__file__).parent)
    assert run("import kernels", site, PYTHONPATH=str(site)).returncode == 0
    (site / "kernels-0.10.0.dist-info").mkdir()
    mixed = run("import kernels.primes", site, PYTHONPATH=str(site))
    assert mixed.returncode != 0
    assert "ImportError" in mixed.stderr
    assert "pip uninstall kernels" in mixed.stderr


def test_types_are_shipped():
    assert (Path(kernels.__file__).parent / "py.typed").exists()
