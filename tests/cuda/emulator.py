"""Executes CUDA kernels on the CPU: built by g++ against ``emulator.h``, run in a process by ``emulator.cpp``.

``run(source, "kernel", grid, block, arguments, seed=0)`` changes the NumPy arrays among the arguments in place, as a
GPU would, or raises ``EmulationError`` with what went wrong where. The seed fixes which thread runs when, and the
build:

- even seeds: AddressSanitizer; threads are switched at branches, atomics, fences, shuffles and barriers;
- odd seeds: threads are switched before memory accesses too, so that an update that is not atomic loses counts.
  The accesses are checked against AddressSanitizer's shadow memory all the same (arrays on a thread's stack are not).
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from numbers import Number
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
CACHE = Path(tempfile.gettempdir()) / f"cuda-emulation-{getattr(os, 'getuid', int)()}"
CHECKS = "-fsanitize=bounds,shift,signed-integer-overflow,integer-divide-by-zero,alignment,return"
INSTRUMENTED = ["-O1", "-g1", "-w", CHECKS, "-fno-sanitize-recover=all", "-fsanitize-coverage=trace-pc"]
BUILDS = (["-fsanitize=address"], ["-fsanitize=thread", "--param", "tsan-distinguish-volatile=1"])
RESIDENT = 4
PATIENCE = 3 * 10**8
MAX_SHARED = 48 << 10


class EmulationError(RuntimeError):
    """A kernel did what it must not: an index out of bounds, a deadlock, a wrong argument."""


class BuildError(RuntimeError):
    """A kernel does not compile."""


@functools.cache
def missing() -> str | None:
    """Why kernels cannot be emulated here, or None."""
    if os.environ.get("BACKBENCH_EMULATOR") == "off":
        return "BACKBENCH_EMULATOR=off leaves the emulator out"
    if not sys.platform.startswith("linux"):
        return "kernels are emulated on Linux only"
    if not shutil.which("g++"):
        return "g++ is not installed"
    test = subprocess.run(
        ["g++", "-std=c++17", "-fsanitize=address", "-fsanitize-coverage=trace-pc", "-x", "c++", "-", "-o", os.devnull],
        input='int main() {} extern "C" void __sanitizer_cov_trace_pc() {}',
        text=True,
        capture_output=True,
    )
    return None if test.returncode == 0 else f"g++ cannot link AddressSanitizer: {test.stderr.strip()}"


def translate(source: str) -> str:
    """CUDA C as C++ for ``emulator.h``: shared variables become references, and kernels are entered in a table."""
    source = re.sub(
        r'//[^\n]*|/\*.*?\*/|("(?:\\.|[^"\\])*")', lambda m: m[1] or re.sub(r"[^\n]", " ", m[0]), source, flags=re.S
    )
    source = re.sub(
        r"(?P<extern>extern\s+)?(?:static\s+)?(?P<volatile>volatile\s+)?__shared__\s(?P<declaration>[^;{}]*);",
        _shared,
        source,
    )
    bounds = r"(?:__launch_bounds__\s*\(([^,)]*)[^)]*\)\s*)?"
    kernels = re.findall(rf"__global__\s+{bounds}void\s+{bounds}(\w+)", source)
    table = [
        f'static emulated::Kernel emulated_{name}("{name}", {name}, {before or after or 1024});'
        for name, before, after in {name: (name, before, after) for before, after, name in kernels}.values()
    ]
    return "\n".join(['#include "emulator.h"', '#line 1 "kernel.cu"', source, *table, ""])


def _shared(match: re.Match[str]) -> str:
    declaration = re.sub(r"__align__\s*\([^)]*\)|alignas\s*\([^)]*\)", "", match["declaration"])
    first, *others = re.split(r",(?![^<\[(]*[>\])])", declaration)
    parsed = re.fullmatch(r"\s*(?P<type>.*?)\s*(?P<name>\b\w+)\s*(?P<size>(?:\[[^\]]*\]\s*)*)", first, flags=re.S)
    if not parsed:
        raise BuildError(f"not understood: {match[0]}")
    type = (match["volatile"] or "") + parsed["type"]
    if match["extern"]:
        return f"{type} *{parsed['name']} = ({type} *)emulated::dynamic_shared();"
    text = ""
    for variable in [parsed["name"] + parsed["size"], *others]:
        name, size = re.fullmatch(r"\s*(\w+)\s*(.*?)\s*", variable, flags=re.S).groups()
        text += f"auto &{name} = emulated::shared_variable<{type}{size}>([] {{}}); "
    return text


def compile(source: str, options: tuple[str, ...] = (), build: int = 0) -> Path:
    """The executable that serves the launches of a source's kernels, from the cache where it is there."""
    options = tuple(o for o in options if o.startswith(("-D", "-U", "-I", "-std=", "--std=")))
    if not any("std=" in o for o in options):
        options += ("-std=c++17",)
    runtime = _built("runtime", "emulator.o", ["-std=c++17", "-O2", "-c", str(FOLDER / "emulator.cpp")])
    flags = [*INSTRUMENTED, *BUILDS[build], *(o.replace("--std", "-std") for o in options), f"-I{FOLDER}"]
    unit = _built(translate(source), "kernel.o", [*flags, "-c", "-x", "c++", "-"])
    return _built(unit.parent.name, "kernel", [str(unit), str(runtime), "-fsanitize=address"])


def _built(text: str, name: str, command: list[str]) -> Path:
    sources = [FOLDER / "emulator.h", FOLDER / "emulator.cpp"]
    key = hashlib.sha256("\0".join([text, *command, *(s.read_text() for s in sources)]).encode()).hexdigest()[:24]
    target = CACHE / key / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f"{name}.{os.getpid()}")
        done = subprocess.run(["g++", *command, "-o", str(unfinished)], input=text, text=True, capture_output=True)
        if done.returncode:
            raise BuildError(f"g++ does not compile this kernel:\n{done.stderr}")
        unfinished.replace(target)
    return target


class Module:
    """The kernels of one source in one build, served by a process of their own that keeps ``__device__`` variables."""

    def __init__(self, source: str, options: tuple[str, ...] = (), build: int = 0):
        self._program = compile(source, tuple(options), build)
        self._server: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        for _ in range(5):  # where the kernel scatters mappings widely, AddressSanitizer may find its place taken
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115
            self._server = subprocess.Popen(
                [str(self._program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
            )
            weakref.finalize(self, self._errors.close)
            weakref.finalize(self, _end, self._server)
            lines = []
            while line := self._server.stdout.readline().decode().split():
                lines.append(line)
            if lines:
                self.kernels = {name: parameters for name, *parameters in lines}
                return
            self.close()
        raise EmulationError(f"the emulated kernels do not start, or there are none: {self._error()}")

    def close(self) -> None:
        """End the process; the next launch starts another."""
        if self._server:
            _end(self._server)
            self._server = None

    def _error(self) -> str:
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        before, rule, rest = text.partition("=" * 65)
        report, _, after = rest.partition("ABORTING")
        telling = [line for line in report.splitlines() if re.search(r"ERROR:| of size |kernel\.cu", line)]
        return "\n".join([before, *telling, after]) if rule else text

    def launch(
        self,
        name: str,
        grid: int | tuple[int, ...],
        block: int | tuple[int, ...],
        arguments: tuple[object, ...],
        *,
        shared: int = 0,
        seed: int = 0,
        resident: int = RESIDENT,
        patience: int = PATIENCE,
        max_shared: int = MAX_SHARED,
    ) -> None:
        """Run a kernel to its end; the arrays among the arguments are changed in place.

        ``resident`` blocks run at once; ``patience`` is how many steps may pass without a thread returning.
        """
        if name not in self.kernels:
            raise EmulationError(f"no kernel {name!r}; there are {', '.join(self.kernels)}")
        grid, block = _three(grid), _three(block)
        if not (1 <= grid[0] < 2**31 and min(grid) >= 1 and max(grid[1:]) < 2**16):
            raise EmulationError(f"{name}: grid {grid} is not one that CUDA takes")
        if not (min(block) >= 1 and block[0] * block[1] * block[2] <= 1024 and block[2] <= 64):
            raise EmulationError(f"{name}: block {block} is not one that CUDA takes")
        buffers, words = _marshal(name, self.kernels[name], arguments)
        index = list(self.kernels).index(name)
        head = [index, *grid, *block, shared, max_shared, seed, patience, resident, len(buffers)]
        message = [struct.pack(f"<{len(head)}Q", *head)]
        for buffer in buffers:
            message += [struct.pack("<Q", buffer.nbytes), buffer]
        message.append(struct.pack(f"<{1 + len(words)}Q", len(words) // 2, *words))
        with self._lock:
            if self._server is None:
                self._start()
            try:
                self._server.stdin.writelines(message)
                self._server.stdin.flush()
                if self._server.stdout.read(1) != b".":
                    raise BrokenPipeError
                for buffer in buffers:
                    self._server.stdout.readinto(buffer)
            except BrokenPipeError:
                status = self._server.wait()
                self.close()
                raise EmulationError(f"{self._error()}\n(seed {seed}, exit status {status})") from None


def _end(server: subprocess.Popen[bytes]) -> None:
    server.kill()
    server.communicate()


def _three(size: int | tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = (*((size,) if isinstance(size, int) else size), 1, 1)[:3]
    return int(x), int(y), int(z)


def _marshal(name: str, parameters: list[str], arguments: tuple[object, ...]) -> tuple[list[np.ndarray], list[int]]:
    """The buffers that the kernel sees, and two words an argument: a buffer (from 1) and an offset, or 0 and the bits.

    Arrays that share their memory share a buffer, as they would on a GPU.
    """
    if len(arguments) != len(parameters):
        raise TypeError(f"{name} takes {len(parameters)} arguments ({', '.join(parameters)}), not {len(arguments)}")
    buffers: dict[int, np.ndarray] = {}
    words: list[int] = []
    for position, (parameter, argument) in enumerate(zip(parameters, arguments, strict=True)):
        wrong = TypeError(f"{name}: argument {position} is {_spelled(argument)}, the kernel's parameter is {parameter}")
        if isinstance(argument, np.ndarray):
            if parameter != "*?" and parameter != _spelled(argument):
                raise wrong
            if not (argument.flags.c_contiguous or argument.flags.f_contiguous):
                raise ValueError(f"{name}: argument {position} is not contiguous")
            root = argument
            while isinstance(root.base, np.ndarray):
                root = root.base
            start = root.__array_interface__["data"][0]
            buffers.setdefault(start, root.ravel(order="K").view(np.uint8))
            words += [list(buffers).index(start) + 1, argument.__array_interface__["data"][0] - start]
        elif isinstance(argument, int) and not isinstance(argument, bool) and parameter in ("i8", "u8"):
            low, high = (-(2**63), 2**63) if parameter == "i8" else (0, 2**64)
            if not low <= argument < high:
                raise OverflowError(f"{name}: argument {position} is {argument}, which {parameter} does not hold")
            words += [0, argument % 2**64]
        elif argument is None and parameter.startswith("*"):
            words += [0, 0]
        elif isinstance(argument, (Number, np.generic)) and _spelled(argument) == parameter:
            words += [0, int.from_bytes(np.asarray(argument).tobytes(), "little")]
        else:
            raise wrong
    return list(buffers.values()), words


def _spelled(argument: object) -> str:
    dtype = getattr(argument, "dtype", None) or np.dtype(type(argument))
    return f"{'*' * isinstance(argument, np.ndarray)}{dtype.kind}{dtype.itemsize}"


@functools.lru_cache(maxsize=64)
def load(source: str, options: tuple[str, ...] = (), build: int = 0) -> Module:
    """The module of a source, as it was loaded before where it was."""
    return Module(source, options, build)


def run(
    source: str,
    name: str,
    grid: object,
    block: object,
    arguments: tuple[object, ...],
    *,
    seed: int = 0,
    options: tuple[str, ...] = (),
    **how: int,
) -> None:
    """Run one kernel of a source to its end; see ``Module.launch``."""
    load(source, options, seed % len(BUILDS)).launch(name, grid, block, arguments, seed=seed, **how)
