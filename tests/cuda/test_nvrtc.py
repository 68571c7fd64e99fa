"""NVRTC takes every CUDA source of the project (and the emulator's samples), for the GPUs that the project aims at."""

from __future__ import annotations

from pathlib import Path

import pytest

nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed", exc_type=ImportError)
try:
    nvrtc.nvrtcVersion()
except RuntimeError as error:
    pytest.skip(f"nvidia-cuda-nvrtc is not installed: {error}", allow_module_level=True)

ROOT = Path(__file__).parents[2]
SOURCES = [*sorted((ROOT / "kernels").rglob("*.cu")), *sorted((Path(__file__).parent / "samples").glob("*.cu"))]
VARIANTS = [
    pytest.param(path, options, id=" ".join([str(path.relative_to(ROOT)), *options]))
    for path in SOURCES
    for options in ([["-DREAL=float"], ["-DREAL=double"]] if "REAL" in path.read_text() else [[]])
]


def compile(source: str, architecture: str, *options: str) -> tuple[bool, str]:
    """Whether NVRTC makes machine code of a source, and what it says."""

    def call(function, *arguments):
        error, *results = function(*arguments)
        assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, error
        return results[0] if results else None

    program = call(nvrtc.nvrtcCreateProgram, source.encode(), b"kernel.cu", 0, [], [])
    every = [f"--gpu-architecture={architecture}", "-std=c++17", "-Werror=all-warnings", *options]
    (result,) = nvrtc.nvrtcCompileProgram(program, len(every), [option.encode() for option in every])
    log = b" " * call(nvrtc.nvrtcGetProgramLogSize, program)
    call(nvrtc.nvrtcGetProgramLog, program, log)
    call(nvrtc.nvrtcDestroyProgram, program)
    return result == nvrtc.nvrtcResult.NVRTC_SUCCESS, log.decode(errors="replace")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("path", "options"), VARIANTS)
def test_compiles(path, options, architecture):
    compiled, log = compile(path.read_text(), architecture, *options)
    assert compiled, log


def test_reports_errors():
    compiled, log = compile('extern "C" __global__ void f(int *a) { a[0] = b; }', "sm_80")
    assert not compiled
    assert '"b" is undefined' in log
