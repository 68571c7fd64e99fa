"""The rules of dispatch one by one, on the primes and on a toy core of arrays."""

import asyncio
import importlib.util
import re
import sys
import threading
import warnings
from array import array
from pathlib import Path

import pytest
import toy

import kernels
from kernels import dispatch, registry
from kernels.errors import BackendNotInstalledError, BackendWarning, UnknownBackendError, UnsupportedError

HAS_NUMPY = importlib.util.find_spec("numpy") is not None
needs_numpy = pytest.mark.skipif(not HAS_NUMPY, reason="NumPy is not installed")
needs_dask = pytest.mark.skipif(importlib.util.find_spec("dask") is None, reason="Dask is not installed")
needs_sparse = pytest.mark.skipif(importlib.util.find_spec("sparse") is None, reason="sparse is not installed")

LARGE = 10**9  # worth it on every backend


@pytest.fixture(autouse=True)
def no_preference(monkeypatch):
    monkeypatch.delenv("BACKBENCH_BACKEND", raising=False)
    dispatch._warn_once.cache_clear()


@pytest.fixture
def missing(monkeypatch):
    """Makes packages look as if they were not installed."""

    def hide(*modules):
        importable = registry.is_importable
        monkeypatch.setattr(registry, "is_importable", lambda module: module not in modules and importable(module))
        dispatch.forget_installed()

    yield hide
    monkeypatch.undo()
    dispatch.forget_installed()


@pytest.fixture
def acme(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "third_party"))
    dispatch.forget_installed()
    yield "acme"
    monkeypatch.undo()
    dispatch.forget_installed()


def chosen(function, *arguments, **options):
    explanation = kernels.explain(function, *arguments, **options)
    return explanation.backend, explanation.rule


# Rule 1: the argument


def test_argument_comes_first(monkeypatch):
    monkeypatch.setenv("BACKBENCH_BACKEND", "numpy")
    with kernels.use_backend("numpy"):
        assert chosen("primes.sum_below", LARGE, backend="python") == ("python", dispatch.BY_ARGUMENT)


@needs_dask
def test_argument_against_arrays_is_refused():
    import dask.array as da

    with pytest.raises(TypeError, match=r"given arrays of dask, but numpy was .*backend=.*kernels\.to_numpy"):
        toy.scale(da.ones(3), 2, backend="numpy")


def test_argument_must_be_a_name():
    with pytest.raises(TypeError, match="backend must be a name, not 3 of type int"):
        kernels.primes.below(10, backend=3)


# Rule 2: the context


def test_context(monkeypatch):
    monkeypatch.setenv("BACKBENCH_BACKEND", "numpy")
    with kernels.use_backend("python"):
        assert chosen("primes.below", LARGE) == ("python", dispatch.BY_CONTEXT)
        assert isinstance(kernels.primes.below(10), array)
        with kernels.use_backend(None):
            assert chosen("primes.below", LARGE)[1] != dispatch.BY_CONTEXT
        assert chosen("primes.below", LARGE)[1] == dispatch.BY_CONTEXT
    assert chosen("primes.below", LARGE)[1] != dispatch.BY_CONTEXT


def test_context_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), kernels.use_backend("python"):
        1 / 0  # noqa: B018
    assert chosen("primes.below", LARGE)[1] != dispatch.BY_CONTEXT


def test_context_refuses_unknown_names_at_once():
    with pytest.raises(UnknownBackendError, match="chosen by use_backend"):
        kernels.use_backend("nope")


def test_context_is_not_inherited_by_threads():
    seen = []
    with kernels.use_backend("python"):
        thread = threading.Thread(target=lambda: seen.append(chosen("primes.below", LARGE)[1]))
        thread.start()
        thread.join()
    assert seen == [dispatch.BY_DEFAULT]


def test_context_of_each_task_is_its_own():
    async def task(name):
        with kernels.use_backend(name):
            await asyncio.sleep(0.01)
            return dispatch._context.get()

    async def both():
        return await asyncio.gather(task("python"), task("numpy"))

    assert asyncio.run(both()) == ["python", "numpy"]


@needs_dask
def test_context_against_arrays_is_refused():
    import dask.array as da

    with kernels.use_backend("python"), pytest.raises(TypeError, match="chosen by use_backend"):
        toy.scale(da.ones(3), 2)


# Rule 3: the arrays


@needs_dask
def test_dask_arrays_choose_dask(monkeypatch):
    import dask.array as da

    monkeypatch.setenv("BACKBENCH_BACKEND", "python")
    assert chosen(toy.scale, da.ones(3), 2) == ("dask", dispatch.BY_ARRAYS)
    result = toy.scale(da.ones(3), 2)
    assert isinstance(result, da.Array)
    assert result.compute().tolist() == [2, 2, 2]


@needs_sparse
def test_sparse_arrays_choose_sparse():
    import sparse

    result = toy.scale(sparse.COO([1], [3.0], shape=(4,)), 2)
    assert isinstance(result, sparse.COO)
    assert result.todense().tolist() == [0, 6, 0, 0]


@needs_dask
@needs_sparse
def test_mixed_kinds_are_refused():
    import dask.array as da
    import numpy as np
    import sparse

    with pytest.raises(TypeError, match="arrays of dask and sparse"):
        toy.scale(da.ones(3), 2, sparse.COO([1], [3.0], shape=(3,)))
    with pytest.raises(TypeError, match="NumPy arrays beside arrays of dask"):
        toy.scale(da.ones(3), 2, np.ones(3))


@needs_numpy
def test_numpy_arrays_bind_nothing():
    import numpy as np

    assert chosen(toy.scale, np.ones(3), 2) == ("numpy", dispatch.BY_DEFAULT)
    assert chosen(toy.scale, np.ones(3), 2, backend="python") == ("python", dispatch.BY_ARGUMENT)


def test_foreign_arrays_are_refused():
    class Tensor:
        def __dlpack__(self):
            raise AssertionError("no data may move unasked")

    with pytest.raises(TypeError, match=r"no backend takes arrays of type .*Tensor.*kernels\.to_numpy"):
        toy.scale(Tensor(), 2)


# Rule 4: the environment variable


def test_variable_is_followed(monkeypatch):
    monkeypatch.setenv("BACKBENCH_BACKEND", "python")
    assert chosen("primes.sum_below", LARGE) == ("python", dispatch.BY_VARIABLE)


def test_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("BACKBENCH_BACKEND", "")
    assert chosen("primes.sum_below", LARGE)[1] == dispatch.BY_DEFAULT


@pytest.mark.parametrize("name", ["nonesuch", "numba"])
def test_variable_that_cannot_serve_warns_once(monkeypatch, missing, name):
    missing("numba")
    monkeypatch.setenv("BACKBENCH_BACKEND", name)
    with pytest.warns(BackendWarning, match=f"{name}.*preferred by BACKBENCH_BACKEND"):
        assert kernels.primes.sum_below(10) == 17
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kernels.primes.sum_below(10) == 17


@needs_numpy
def test_variable_does_not_change_the_kind_of_result(monkeypatch):
    import numpy as np

    monkeypatch.setenv("BACKBENCH_BACKEND", "python")
    result = kernels.primes.below(10)
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.int64


# Rule 5: the default


def test_default_order(missing):
    for hidden in ["numba", "numpy"]:
        assert chosen("primes.sum_below", LARGE)[1] == dispatch.BY_DEFAULT
        missing(hidden)
    assert chosen("primes.sum_below", LARGE) == ("python", dispatch.BY_DEFAULT)


@needs_numpy
def test_default_heeds_cannot_and_not_worth():
    assert chosen(toy.scale, [1], 2) == ("numpy", dispatch.BY_DEFAULT)
    assert chosen(toy.scale, [1], 2j) == ("python", dispatch.BY_DEFAULT)
    assert chosen(toy.scale, [1], 0) == ("python", dispatch.BY_DEFAULT)
    assert "a zero factor needs no NumPy" in kernels.explain(toy.scale, [1], 0).others["numpy"]
    assert "factor is complex" in kernels.explain(toy.scale, [1], 2j).others["numpy"]


@needs_numpy
def test_an_order_runs_though_not_worth_it():
    assert chosen(toy.scale, [1], 0, backend="numpy")[0] == "numpy"


def test_default_is_never_a_guest(missing, acme):
    missing("numba", "numpy")
    with pytest.raises(UnsupportedError, match=r"python \(the default\) does not support.*Supported by: numpy"):
        toy.only_numpy()


# What comes back


@needs_numpy
@pytest.mark.parametrize("name", ["python", "numpy", "dask", "sparse"])
def test_numpy_in_numpy_out(name):
    import numpy as np

    if (why := registry.BUILT_IN[name].why_not()) is not None:
        pytest.skip(why)
    result = toy.scale(np.array([1.0, 0.0, 3.0]), 2, backend=name)
    assert type(result) is np.ndarray
    assert result.tolist() == [2, 0, 6]
    first, second = toy.halves(np.array([1.0, 2.0]), backend=name)
    assert type(first) is type(second) is np.ndarray


def test_lists_stay_lists_on_python():
    assert toy.scale([1, 2], 3, backend="python") == [3, 6]
    assert toy.scale((1, 2), 3, backend="python") == [3, 6]
    assert toy.scale(range(1, 3), 3, backend="python") == [3, 6]


@needs_numpy
def test_lists_come_back_as_numpy_where_python_was_not_asked_for(monkeypatch):
    """What comes back depends on what went in, not on a value that made another backend worth it."""
    import numpy as np

    assert type(toy.scale([1, 2], 0)) is np.ndarray
    monkeypatch.setenv("BACKBENCH_BACKEND", "python")
    assert type(toy.scale([1, 2], 3)) is np.ndarray


@needs_numpy
def test_subclasses_of_lists_bind_nothing():
    class Rows(list):
        pass

    assert toy.scale(Rows([1, 2]), 3, backend="numpy").tolist() == [3, 6]


@needs_numpy
def test_masked_arrays_are_refused():
    import numpy as np

    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    for call in (lambda: toy.scale(masked, 2), lambda: kernels.to_numpy(masked)):
        with pytest.raises(TypeError, match="fill it first"):
            call()


@needs_numpy
def test_lists_become_numpy_elsewhere():
    import numpy as np

    assert type(toy.scale([1, 2], 3, backend="numpy")) is np.ndarray
    assert type(toy.scale([1, 2], 3)) is np.ndarray
    assert type(toy.scale([1, 2], 3, np.array([1, 1]), backend="numpy")) is np.ndarray


def test_results_without_numpy(missing):
    missing("numpy", "numba")
    assert isinstance(kernels.primes.below(10), array)
    assert isinstance(kernels.primes.sieve(10), bytearray)


@needs_numpy
def test_results_without_arrays_in():
    import numpy as np

    assert type(kernels.primes.below(10)) is np.ndarray
    assert kernels.primes.sieve(10).dtype == bool
    assert isinstance(kernels.primes.below(10, backend="python"), array)
    assert isinstance(kernels.primes.sieve(10, backend="python"), bytearray)


@needs_numpy
def test_to_numpy():
    assert kernels.to_numpy([1, 2]).tolist() == [1, 2]
    assert kernels.to_numpy(array("q", [1, 2])).dtype.type is kernels.to_numpy([1]).dtype.type
    with pytest.raises(TypeError, match="nothing that NumPy takes for an array"):
        kernels.to_numpy(object())
    assert kernels.to_numpy(bytearray([0, 1])).tolist() == [False, True]


# The three errors


def test_unknown_name():
    with pytest.raises(UnknownBackendError) as caught:
        kernels.primes.below(10, backend="nunba")
    text = str(caught.value)
    assert "chosen by the argument backend=" in text
    assert "Did you mean 'numba'?" in text
    assert all(name in text for name in registry.BUILT_IN)
    assert isinstance(caught.value, ValueError)


def test_not_installed(missing):
    missing("sparse")
    with pytest.raises(BackendNotInstalledError) as caught:
        kernels.primes.below(10, backend="sparse")
    text = str(caught.value)
    assert "chosen by the argument backend=" in text
    if sys.implementation.name == "cpython":
        assert 'python -m pip install "backbench[sparse]"' in text
    assert isinstance(caught.value, ImportError)


@needs_numpy
def test_not_supported():
    with kernels.use_backend("numpy"), pytest.raises(UnsupportedError) as caught:
        toy.scale([1], 2j)
    text = str(caught.value)
    assert "chosen by use_backend" in text
    assert "factor is complex" in text
    assert re.search(r"Supported by: .*python", text)


# explain and backends


def test_explain_tells_of_every_backend():
    explanation = kernels.explain("primes.sum_below", LARGE)
    assert {explanation.backend, *explanation.others} == {*registry.BUILT_IN}
    assert all(explanation.others.values())
    assert "primes.sum_below -> " in str(explanation)
    assert kernels.explain(kernels.primes.sum_below, LARGE) == explanation


def test_explain_of_a_call_that_would_raise():
    explanation = kernels.explain("primes.sum_below", LARGE, backend="nope")
    assert explanation.backend is None
    assert isinstance(explanation.error, UnknownBackendError)
    assert "raises UnknownBackendError" in str(explanation)


def test_explain_refuses():
    with pytest.raises(ValueError, match=r"nearest are .*primes\.sum_below"):
        kernels.explain("primes.sum_bellow", 10)
    with pytest.raises(TypeError, match="no function that a backend runs"):
        kernels.explain(print, 10)
    with pytest.raises(TypeError, match="limit must be an integer"):
        kernels.explain("primes.sum_below", 1.5)


def test_backends():
    found = kernels.backends()
    assert list(found)[: len(registry.BUILT_IN)] == list(registry.BUILT_IN)
    assert found["python"].available
    for status in found.values():
        assert status.available == (status.why_not is None)
        assert status.install


# Third parties


def test_third_party(acme, monkeypatch):
    result = kernels.primes.below(12, backend="acme")
    assert result.items == [2, 3, 5, 7, 11]
    with pytest.raises(UnsupportedError, match="Supported by: "):
        kernels.primes.nth(3, backend="acme")
    assert "acme" in kernels.backends()
    with pytest.raises(UnknownBackendError, match="Did you mean 'acme'"):
        kernels.primes.below(10, backend="acm")
    monkeypatch.setenv("BACKBENCH_BACKEND", "acme")
    assert chosen("primes.below", 10)[0] == "acme"


def test_third_party_arrays(acme):
    from acme import AcmeArray

    result = toy.scale(AcmeArray([1, 2]), 3)
    assert result.items == [3, 6]
    assert chosen(toy.scale, AcmeArray([1]), 3) == ("acme", dispatch.BY_ARRAYS)
    if HAS_NUMPY:
        assert kernels.to_numpy(result).tolist() == [3, 6]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("numpy", "acme:backend", "must be a kernels.registry.Backend of that name"),
        ("broken", "no_such_module:backend", "No module named"),
        ("strange", "acme:AcmeArray", "must be a kernels.registry.Backend"),
    ],
)
def test_third_party_that_cannot_be_had_is_left_out(acme, monkeypatch, tmp_path, name, value, reason):
    folder = tmp_path / "bad-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[backbench.backends]\n{name} = {value}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(BackendWarning, match=f"{name} = {value} is left out: .*{reason}"):
        assert list(kernels.backends()) == [*registry.BUILT_IN, "acme"]
    assert kernels.primes.below(12, backend="acme").items == [2, 3, 5, 7, 11]


def test_third_party_shares_the_limits_of_every_other(acme, monkeypatch):
    monkeypatch.setattr(registry.find("acme", "").__class__, "functions", lambda self, core: {"count_below"})
    assert chosen("primes.count_below", 10, backend="acme")[0] == "acme"
    with pytest.raises(UnsupportedError, match="64-bit"):
        kernels.primes.count_below(2**63 + 5, backend="acme")


# What is installed but broken


@pytest.fixture
def broken(monkeypatch):
    """Makes a backend's module fail on import, as Numba does beside a NumPy that it does not know yet."""

    def spoil(*names):
        real = dispatch.importlib.import_module

        def fail(module):
            name = module.rpartition(".on_")[2]
            if name in names:
                raise ImportError(f"{name} needs something older")
            return real(module)

        monkeypatch.setattr(dispatch.importlib, "import_module", fail)
        dispatch.forget_installed()

    yield spoil
    monkeypatch.undo()
    dispatch.forget_installed()


@needs_numpy
def test_default_passes_over_what_cannot_be_imported(broken):
    broken("numpy")
    with pytest.warns(BackendWarning, match="numpy .the default.: it is installed, but cannot be imported"):
        assert toy.scale([1, 2], 2).tolist() == [2, 4]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert chosen(toy.scale, [1, 2], 2)[0] == "python"
    dispatch.forget_installed()
    with pytest.raises(BackendNotInstalledError, match=r"chosen by the argument.*needs something older"):
        toy.scale([1, 2], 2, backend="numpy")


@needs_numpy
def test_default_passes_over_several_that_cannot_be_imported(broken):
    broken("numba", "numpy")
    with pytest.warns(BackendWarning, match="cannot be imported"):
        assert kernels.primes.count_between(0, 10**6) == 78498
    assert chosen("primes.count_between", 0, 10**6)[0] == "python"


# Cost


def test_dispatch_takes_two_microseconds(monkeypatch):
    """Medians on a busy machine are above the minimum, so the best of many rounds counts."""
    if sys.implementation.name != "cpython" or sys.gettrace():
        pytest.skip("stated for CPython without tracing")
    import timeit

    monkeypatch.setattr(dispatch, "_implementation", lambda this, backend: lambda *arguments: 0)
    calls = [(kernels.primes.sum_below, (LARGE,))]
    if HAS_NUMPY:
        import numpy as np

        calls += [(toy.scale, (np.ones(3), 2)), (toy.scale, (np.ones(3), 2, np.ones(3)))]
    for function, arguments in calls:
        names = {"function": function, "check": function.contract.check, "arguments": arguments}

        def microseconds(statement, names=names):
            return min(timeit.repeat(statement, globals=names, number=5_000, repeat=50)) / 5_000 * 1e6

        assert microseconds("function(*arguments)") - microseconds("check(*arguments)") < 2
