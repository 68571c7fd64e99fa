"""The backends as the tests meet them: each test of a core runs on every backend, or is skipped with the reason."""

from __future__ import annotations

import sys

import pytest

from kernels import dispatch
from kernels.errors import UnsupportedError
from kernels.registry import BUILT_IN, find


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    parser.addoption("--backend", action="append", help="run the conformance suites on this backend alone (repeatable)")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="slow; run with --slow")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", metafunc.config.getoption("--backend") or list(BUILT_IN), indirect=True)


@pytest.fixture(scope="session")
def backend(request):
    """Name of a backend that can run here; without a GPU, CuPy's kernels run in the emulator."""
    asked = request.config.getoption("--backend")
    reason = find(request.param, "chosen by --backend").why_not()
    if reason is None:
        yield request.param
    elif asked:
        pytest.fail(f"{request.param} was asked for, but cannot run: {reason}")
    elif request.param == "cupy" and (why_not_emulated := emulation()) is None:
        import fake_cupy

        with fake_cupy.installed(seed=0):
            dispatch.forget_installed()
            yield request.param
        dispatch.forget_installed()
    else:
        pytest.skip(f"{request.param}: {reason}" + (f"; {why_not_emulated}" if request.param == "cupy" else ""))


@pytest.fixture(scope="session")
def emulated(backend):
    """Whether the backend's kernels run in the emulator, so that sizes should be small."""
    return hasattr(sys.modules.get("cupy"), "counts")


def emulation() -> str | None:
    """Why CUDA kernels cannot be emulated here, or None if they can."""
    if reason := BUILT_IN["numpy"].why_not():
        return reason
    import emulator

    return emulator.missing()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """A third party's backend is measured on the functions that it has."""
    try:
        return (yield)
    except UnsupportedError as error:
        asked = item.config.getoption("--backend") or []
        if "it has no" in str(error) and not set(asked) <= set(BUILT_IN):
            pytest.skip(str(error))
        raise
