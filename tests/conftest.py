"""The backends as the tests meet them: each test of a core runs on every backend, or is skipped with the reason."""

from __future__ import annotations

import pytest

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
    """Name of a backend that can run here."""
    if reason := find(request.param, "chosen by --backend").why_not():
        if request.config.getoption("--backend"):
            pytest.fail(f"{request.param} was asked for, but cannot run: {reason}")
        pytest.skip(f"{request.param}: {reason}")
    return request.param
