"""The capability table: which backend has which function, read from the code without importing any backend.

``python -m kernels.capabilities README.md`` brings the table in a file up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kernels.dispatch import CONTRACTS
from kernels.registry import BUILT_IN

__all__ = ["markdown", "table", "updated"]

BEGIN = "<!-- capabilities: begin -->"
END = "<!-- capabilities: end -->"


def table() -> dict[str, dict[str, str | None]]:
    """For each public function, what is to be said of each built-in backend that has it; None for one that has not."""
    return {
        name: {
            backend.name: this.notes.get(backend.name, "") if this.name in backend.functions(this.core) else None
            for backend in BUILT_IN.values()
        }
        for name, this in CONTRACTS.items()
        if this.core.startswith("kernels.")
    }


def markdown() -> str:
    rows = table()
    notes = list(dict.fromkeys(note for row in rows.values() for note in row.values() if note))
    mark: dict[str | None, str] = {None: "–", "": "✔"}
    mark |= {note: f"✔ <sup>{number}</sup>" for number, note in enumerate(notes, 1)}
    lines = [
        "| function | " + " | ".join(BUILT_IN) + " |",
        "|---|" + ":-:|" * len(BUILT_IN),
        *(f"| `{name}` | " + " | ".join(mark[note] for note in row.values()) + " |" for name, row in rows.items()),
        "",
        *(f"<sup>{number}</sup> {note}  " for number, note in enumerate(notes, 1)),
    ]
    return "\n".join(lines).rstrip()


def updated(text: str) -> str:
    """`text` with the table between its two marks made anew."""
    head, _, rest = text.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError(f"the text has no lines {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{markdown()}\n{END}{tail}"


if __name__ == "__main__":
    import kernels  # noqa: F401 - the cores state their contracts on import

    for name in sys.argv[1:]:
        Path(name).write_text(updated(Path(name).read_text(encoding="utf-8")), encoding="utf-8")
    if not sys.argv[1:]:
        print(markdown())
