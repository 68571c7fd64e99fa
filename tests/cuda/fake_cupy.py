"""A stand-in for CuPy on NumPy's arrays, so that the host code of ``on_cupy`` runs where no GPU is.

``with fake_cupy.installed(seed=0):`` puts this module in place of ``cupy``. Its arrays are a class of their own; they
mix with NumPy's no more than CuPy's do, and turn into NumPy's only by ``get()`` or ``asnumpy``. Kernels run under
``emulator``, with the types of their arguments checked. ``counts`` tells how often data crossed ``to_host`` and
``to_device``, how often the host otherwise ``waits``, and the ``launches``. What CuPy has and the lists below lack may
be added there; a test compares them with CuPy.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from numbers import Number

import emulator
import numpy as np

FUNCTIONS = """
    abs absolute add all allclose amax amin any append arange argmax argmin argsort argwhere array_equal atleast_1d
    bincount bitwise_and bitwise_or bitwise_xor broadcast_arrays broadcast_to ceil clip concatenate conj copy copyto
    cos count_nonzero cumprod cumsum diag diff digitize divide divmod dot einsum equal exp expand_dims expm1 eye
    flatnonzero flip floor floor_divide full full_like greater greater_equal histogram hstack identity imag invert
    isfinite isinf isnan left_shift less less_equal linspace log log1p log2 logaddexp logical_and logical_not
    logical_or logical_xor lexsort matmul max maximum mean median meshgrid min minimum mod moveaxis multiply
    nan_to_num negative nonzero not_equal ones ones_like outer packbits pad power prod ravel real reciprocal
    remainder repeat reshape right_shift roll rint searchsorted sign sin sort split sqrt square squeeze stack std
    subtract sum swapaxes take take_along_axis tan tanh tensordot tile trace transpose tril triu true_divide trunc
    unique unpackbits var vdot vstack where zeros zeros_like
""".split()  # noqa: SIM905
TYPES = """
    bool_ can_cast complex64 complex128 dtype e finfo float16 float32 float64 floating generic iinfo inf int8 int16
    int32 int64 integer intp nan ndim newaxis number pi promote_types result_type shape signedinteger size uint8
    uint16 uint32 uint64 unsignedinteger
""".split()  # noqa: SIM905
METHODS = """
    all any argmax argmin argsort astype clip conj copy cumprod cumsum diagonal dot fill flatten max mean min
    nonzero prod put ravel repeat reshape round searchsorted sort squeeze std sum swapaxes take trace transpose var
    view
""".split()  # noqa: SIM905
LINALG = ("eigh", "qr", "svd")
WAITING = {"allclose", "argwhere", "array_equal", "flatnonzero", "nonzero", "unique"}  # a size or a truth is needed
LACKING = {"initial", "where"}  # options of NumPy's reductions
MULTIPROCESSORS = 2

__version__ = "14.0.0"
__spec__ = ModuleSpec("cupy", None)
counts: Counter[str] = Counter()
_seeds: Iterator[int] = itertools.count()
_garbage = np.random.default_rng(0)


def __getattr__(name: str) -> object:
    if name in TYPES:
        return getattr(np, name)
    if name in FUNCTIONS:
        function = _wrapped(name, getattr(np, name))
        if isinstance(getattr(np, name), np.ufunc):
            for method in ("accumulate", "at", "outer", "reduce", "reduceat"):
                setattr(function, method, _wrapped(method, getattr(getattr(np, name), method)))
        return function
    raise AttributeError(f"the stand-in for cupy has no {name!r}")


def _wrapped(name: str, function: Callable[..., object]) -> Callable[..., object]:
    """A function of NumPy's on CuPy's arrays."""

    def call(*args: object, **options: object) -> object:
        if name in WAITING:
            counts["waits"] += 1
        if lacking := LACKING & options.keys():
            raise TypeError(f"{name}() got an unexpected keyword argument {lacking.pop()!r}")
        out = options.get("out")
        with np.errstate(all="ignore"):  # a GPU raises no such warnings
            result = function(*map(_host, args), **{option: _host(value) for option, value in options.items()})
        return _device(result) if out is None else out[0] if isinstance(out, tuple) else out

    return call


def _host(value: object) -> object:
    """An operand for NumPy; like CuPy, it refuses an array that is NumPy's already."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return type(value)(map(_host, value)) if isinstance(value, (tuple, list)) else value


def _device(value: object) -> object:
    """A result of NumPy's as CuPy has it: a scalar is an array without axes."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(_device, value))
    return _on_device(np.asarray(value)) if isinstance(value, (np.ndarray, np.generic)) else value


def _on_device(host: np.ndarray) -> ndarray:
    array = object.__new__(ndarray)
    array._host = host
    return array


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the pretended device."""

    __module__ = "cupy"
    __hash__ = None

    def __init__(
        self, shape: object, dtype: object = float, memptr: None = None, strides: None = None, order: str = "C"
    ):
        self._host = np.empty(shape, dtype, order)
        memory = self._host.ravel("K").view(np.uint8)
        memory[...] = _garbage.integers(0, 256, memory.size, np.uint8)  # fresh memory must not look like zeros

    def get(self, stream: object = None, order: str = "C", out: np.ndarray | None = None) -> np.ndarray:
        counts["to_host"] += 1
        if out is None:
            return self._host.copy(order)
        out[...] = self._host
        return out

    def set(self, array: np.ndarray, stream: object = None) -> None:
        counts["to_device"] += 1
        self._host[...] = array

    def item(self, *index: int) -> object:
        return self.get().item(*index)

    def tolist(self) -> object:
        return self.get().tolist()

    def __array__(self, *args: object, **options: object) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *args: object, **options: object) -> object:
        for operand in args:
            if not isinstance(operand, (ndarray, Number, np.generic)):
                raise TypeError(f"Unsupported type {type(operand)}")
        return _wrapped(ufunc.__name__, getattr(ufunc, method))(*args, **options)

    def __array_function__(self, function: Callable[..., object], _: object, args: tuple, options: dict) -> object:
        return _wrapped(function.__name__, function)(*args, **options)

    def __getitem__(self, key: object) -> ndarray:
        masks = [
            part for part in (key if isinstance(key, tuple) else (key,)) if getattr(part, "dtype", None) == np.bool_
        ]
        counts["waits"] += len(masks)  # the number of elements is needed
        return _device(self._host[_host(key)])

    def __setitem__(self, key: object, value: object) -> None:
        self._host[_host(key)] = _host(value)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        return len(self._host)

    def __repr__(self) -> str:
        return f"cupy.{self._host!r}"

    def __reduce__(self) -> tuple[object, ...]:
        return asarray, (self.get(),)

    @property
    def device(self) -> Device:
        return Device(0)


for _name in ("T", "imag", "real"):
    setattr(ndarray, _name, property(lambda self, _name=_name: _device(getattr(self._host, _name))))
for _name in ("dtype", "flags", "itemsize", "nbytes", "ndim", "shape", "size", "strides"):
    setattr(ndarray, _name, property(operator.attrgetter(f"_host.{_name}")))
for _name in ("__bool__", "__complex__", "__float__", "__int__"):
    setattr(ndarray, _name, lambda self, _name=_name: getattr(self.get(), _name)())
for _name in METHODS:
    setattr(
        ndarray,
        _name,
        lambda self, *args, _name=_name, **options: _wrapped(_name, getattr(self._host, _name))(*args, **options),
    )


def empty(shape: object, dtype: object = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def empty_like(prototype: ndarray, dtype: object = None) -> ndarray:
    return ndarray(prototype.shape, dtype or prototype.dtype)


def array(value: object, dtype: object = None, copy: bool = True) -> ndarray:
    if isinstance(value, ndarray):
        return _on_device(np.array(value._host, dtype, copy=copy or None))
    counts["to_device"] += 1
    return _on_device(np.array(value, dtype))


def asarray(value: object, dtype: object = None) -> ndarray:
    return value if isinstance(value, ndarray) and dtype in (None, value.dtype) else array(value, dtype, copy=False)


def ascontiguousarray(value: object, dtype: object = None) -> ndarray:
    value = asarray(value, dtype)
    return value if value.flags.c_contiguous else _on_device(value._host.copy())


def asnumpy(value: object, stream: object = None, order: str = "C", out: np.ndarray | None = None) -> np.ndarray:
    return value.get(stream, order, out) if isinstance(value, ndarray) else np.asarray(value)


def get_array_module(*args: object) -> types.ModuleType:
    return sys.modules[__name__] if any(isinstance(arg, ndarray) for arg in args) else np


def fuse(*args: object, **options: object) -> Callable[..., object]:
    """Fused or not, a function of element-wise operations gives the same."""
    return args[0] if args and callable(args[0]) else lambda function: function


class RawModule:
    """CUDA C whose kernels run under the emulator, in one of its builds, chosen by the seed."""

    def __init__(
        self, *, code: str | None = None, path: str | None = None, options: tuple[str, ...] = (), **others: object
    ):
        if code is None:
            raise NotImplementedError("compiled modules cannot be emulated: pass code=")
        self._seed = next(_seeds)
        self._module = emulator.load(code, tuple(options), self._seed % 2)

    def get_function(self, name: str) -> Function:
        if name not in self._module.kernels:
            raise cuda.driver.CUDADriverError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return Function(self._module, name, self._seed)


class Function:
    """A kernel, launched as kernel(grid, block, args, shared_mem=0)."""

    def __init__(self, module: emulator.Module, name: str, seed: int):
        self._module, self.name, self._seeds = module, name, itertools.count(seed, 2)
        self.max_dynamic_shared_size_bytes = emulator.MAX_SHARED

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[object, ...],
        *,
        shared_mem: int = 0,
        **_: object,
    ) -> None:
        if not isinstance(grid, tuple) or not isinstance(block, tuple):
            raise TypeError("CuPy takes tuples as grid and block")
        counts["launches"] += 1
        self._module.launch(
            self.name,
            grid,
            block,
            tuple(a if isinstance(a, (Number, np.generic)) else _host(a) for a in args),
            shared=shared_mem,
            max_shared=max(self.max_dynamic_shared_size_bytes, emulator.MAX_SHARED),
            seed=next(self._seeds),
        )


def RawKernel(code: str, name: str, options: tuple[str, ...] = (), **others: object) -> Function:
    return RawModule(code=code, options=options).get_function(name)


def ElementwiseKernel(*args: object, **options: object) -> None:
    raise NotImplementedError("ElementwiseKernel is not emulated: write a RawKernel, or use cupy.fuse")


ReductionKernel = ElementwiseKernel


class Device:
    id = 0
    compute_capability = "80"
    mem_info = (8 << 30, 8 << 30)
    attributes = types.MappingProxyType(
        {
            "MultiProcessorCount": MULTIPROCESSORS,
            "MaxThreadsPerBlock": 1024,
            "MaxSharedMemoryPerBlock": 48 << 10,
            "MaxSharedMemoryPerBlockOptin": 163 << 10,
            "MaxThreadsPerMultiProcessor": 2048,
            "WarpSize": 32,
        }
    )

    def __init__(self, device: int | None = None):
        pass

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def use(self) -> Device:
        return self

    def synchronize(self) -> None:
        counts["waits"] += 1


class Stream:
    def __init__(self, null: bool = False, non_blocking: bool = False):
        pass

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def synchronize(self) -> None:
        counts["waits"] += 1


Stream.null = Stream()


class CUDARuntimeError(RuntimeError):
    pass


class CUDADriverError(RuntimeError):
    pass


def _module(name: str, **contents: object) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(contents)
    return module


cuda = _module(
    "cupy.cuda",
    Device=Device,
    Stream=Stream,
    get_current_stream=lambda: Stream.null,
    is_available=lambda: True,
    driver=_module("cupy.cuda.driver", CUDADriverError=CUDADriverError),
    runtime=_module(
        "cupy.cuda.runtime",
        CUDARuntimeError=CUDARuntimeError,
        deviceSynchronize=Stream.null.synchronize,
        getDevice=lambda: 0,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda device: {"name": b"emulated", "multiProcessorCount": MULTIPROCESSORS},
        memGetInfo=lambda: Device.mem_info,
    ),
)
is_available = cuda.is_available


def _tuple_of(function: Callable[..., object]) -> Callable[..., object]:
    return lambda *args, **options: tuple(function(*args, **options))


linalg = _module("cupy.linalg", **{name: _wrapped(name, _tuple_of(getattr(np.linalg, name))) for name in LINALG})


@contextlib.contextmanager
def installed(seed: int = 0) -> Iterator[types.ModuleType]:
    """This module in place of ``cupy``; what imports CuPy is imported anew, within and afterwards."""
    global _seeds
    mine = {"cupy": sys.modules[__name__], **{m.__name__: m for m in (cuda, cuda.driver, cuda.runtime, linalg)}}

    def ours(name: str) -> bool:
        return name.endswith((".on_cupy", ".cuda_sources")) or name.split(".")[0] in ("cupy", "cupy_backends", "cupyx")

    before = {name: sys.modules.pop(name) for name in list(sys.modules) if ours(name)}
    sys.modules.update(mine)
    _seeds = itertools.count(seed, 2)
    counts.clear()
    try:
        yield mine["cupy"]
    finally:
        for name in list(sys.modules):
            if ours(name):
                del sys.modules[name]
        sys.modules.update(before)
