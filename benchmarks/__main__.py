"""``python -m benchmarks``: the whole suite in a short mode on the code that is installed, and a table of its times.

asv does the timing, with five warmed samples a cell. It runs in a folder of its own under ``.asv/bench``, with a
repository and a machine file made for the occasion, so that it needs neither a clone nor any set-up, and leaves the
committed results alone. asv and rich are imported where they are used, because asv imports this file too, in
environments that have neither.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import os
import shutil
import subprocess
import sys
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

from .common import BACKENDS, SIZES

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / ".asv" / "bench"
SHORT = {"rounds": 1, "repeat": 5, "warmup_time": 0.05, "sample_time": 0.01}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("core", nargs="*", help="cores to run (default: all)")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="run this backend alone (repeatable)")
    parser.add_argument(
        "--size",
        action="append",
        choices=SIZES,
        help="run this size alone (repeatable; all, but without a core medium and large)",
    )
    options = parser.parse_args()
    # Small cases tell what a call costs, which the whole suite has no time for.
    sizes = options.size or (SIZES if options.core else SIZES[1:])
    run(options.core, options.backend or BACKENDS, sizes)
    return int(show() > 0)


def run(cores: list[str], backends: list[str], sizes: list[str]) -> None:
    """Time the chosen cells with asv, in a fresh folder."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    config = {
        "version": 1,
        "project": "backbench",
        "repo": ".",
        "branches": ["main"],
        "environment_type": "existing",
        "pythons": ["same"],
        "benchmark_dir": os.path.relpath(HERE, FOLDER),
        "results_dir": "results",
    }
    (FOLDER / "asv.conf.json").write_text(json.dumps(config))
    environment = {
        **os.environ,
        # asv looks for the machine's description in the home directory; compiled kernels stay where they always are.
        "HOME": str(FOLDER),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
        # What asv tells the benchmarks in every environment but an existing one.
        "ASV_CONF_DIR": str(FOLDER),
        "ASV_ENV_NAME": "existing",
        "BACKBENCH_PRELOAD": "1",
    }

    def call(*command: str, expected: tuple[int, ...] = (0,), **options: Any) -> None:
        status = subprocess.run(command, cwd=FOLDER, env=environment, check=False, **options).returncode
        if status not in expected:
            sys.exit(f"{' '.join(command)} ended with status {status}")

    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"]
    call("git", "init", "--quiet", "--initial-branch=main")
    call("git", *identity, "commit", "--quiet", "--allow-empty", "--message=the code that is installed")
    asv = [sys.executable, "-m", "asv"]
    call(*asv, "machine", "--yes", "--machine=here", stdout=subprocess.DEVNULL)
    cells = rf"\('({'|'.join(backends)})', '({'|'.join(sizes)})'\)"
    call(
        *asv,
        "run",
        "--set-commit-hash=HEAD",
        "--machine=here",
        *(["--launch-method=forkserver"] if hasattr(os, "fork") else []),
        *(f"--bench={core}.*{cells}" for core in cores or [r"\w"]),
        *([] if cores else ["--bench=^overhead"]),
        *(f"--attribute={name}={value}" for name, value in SHORT.items()),
        expected=(0, 2),  # 2: a benchmark failed, which the table tells
    )


def show() -> int:
    """Print a table a function, the overheads, and why cells are empty; the number of cells that failed."""
    from asv.results import iter_results
    from rich.console import Console

    console = Console()
    (result,) = iter_results(str(FOLDER / "results"))
    lines = [
        json.loads(line)
        for file in (FOLDER / "results" / "here").glob("reasons-*.jsonl")
        for line in file.read_text().splitlines()
    ]
    failures = 0
    console.print("[bold]Median times, and how many times faster than NumPy")
    for key in sorted(result.get_all_result_keys()):
        module, name, method = key.split(".")
        kind = getattr(import_module(f"benchmarks.{module}"), name)
        axes = result.get_result_params(key)
        values = {
            tuple(map(ast.literal_eval, at)): value
            for at, value in zip(product(*axes), result.get_result_value(key, axes), strict=True)
        }
        failures += sum(value is None for value in values.values())
        if hasattr(kind, "function"):
            console.print(table_of(kind, values))
            continue
        for at, value in values.items():
            if value is not None:
                text = duration(value) if method.startswith("time") else f"{value:.3g} {kind.unit}"
                console.print(f"{key}({', '.join(at)}): {text}", highlight=False)
    for line in lines:
        if line["state"] == "failed":
            console.print(f"{line['function']} on {line['backend']}, {line['size']}: {line['reason']}", style="red")
    for reason in sorted({f"{line['backend']}: {line['reason']}" for line in lines if line["state"] == "skipped"}):
        console.print(reason, style="dim", markup=False, highlight=False)
    return failures


def table_of(kind: Any, seconds: dict[tuple[str, str], float | None]) -> Any:
    """A row a size, a column for each backend that was not skipped. asv tells skipped (NaN) from failed (None)."""
    from rich.table import Table

    def skipped(backend: str, size: str) -> bool:
        value = seconds[backend, size]
        return value is not None and math.isnan(value)

    columns = [backend for backend in BACKENDS if not all(skipped(backend, size) for size in SIZES)]
    calls = "; ".join(f"{size}: {', '.join(map(str, kind.cases[size].arguments))}" for size in SIZES)
    table = Table(title=f"[bold]{kind.function}[/] ({calls})", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("", width=6)
    for backend in columns:
        table.add_column(backend, justify="right", width=13)
    for size in SIZES:
        cells = ["" if skipped(b, size) else cell(seconds[b, size], seconds["numpy", size]) for b in columns]
        if any(cells):
            table.add_row(size, *cells)
    return table


def cell(seconds: float | None, base: float | None) -> str:
    if seconds is None:
        return "[red]failed"
    if base is None or math.isnan(base):
        return duration(seconds)
    ratio = base / seconds
    color = "green" if ratio > 1.1 else "yellow" if ratio < 0.9 else "dim"
    return f"{duration(seconds)} [{color}]×{ratio:<5.{2 if ratio < 100 else 3}g}[/]"


def duration(seconds: float) -> str:
    from asv.util import human_value

    return human_value(seconds, "seconds").strip()


if __name__ == "__main__":
    sys.exit(main())
