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


def compile(source: str, architecture: str) -> tuple[bool, str]:
    """Whether NVRTC makes machine code of a source, and what it says."""

    def call(function, *arguments):
        error, *results = function(*arguments)
        assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, error
        return results[0] if results else None

    program = call(nvrtc.nvrtcCreateProgram, source.encode(), b"kernel.cu", 0, [], [])
    options = [f"--gpu-architecture={architecture}".encode(), b"-std=c++17", b"-Werror=all-warnings"]
    (result,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    log = b" " * call(nvrtc.nvrtcGetProgramLogSize, program)
    call(nvrtc.nvrtcGetProgramLog, program, log)
    call(nvrtc.nvrtcDestroyProgram, program)
    return result == nvrtc.nvrtcResult.NVRTC_SUCCESS, log.decode(errors="replace")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_compiles(path, architecture):
    compiled, log = compile(path.read_text(), architecture)
    assert compiled, log


def test_reports_errors():
    compiled, log = compile('extern "C" __global__ void f(int *a) { a[0] = b; }', "sm_80")
    assert not compiled
    assert '"b" is undefined' in log
