"""The package index holds another distribution whose import name is `kernels`: one folder cannot be both."""

from __future__ import annotations

import os

__all__ = ["refuse_namesake"]


def refuse_namesake() -> None:
    """Raise `ImportError` if the distribution ``kernels`` was installed into the folder of this package."""
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        names = os.listdir(os.path.dirname(folder))
    except NotADirectoryError:  # in a zip file
        return
    for name in names:
        if name.startswith("kernels-") and name.endswith((".dist-info", ".egg-info")):
            raise ImportError(
                f"{folder} belongs to backbench and to {name} at once, and files of one have replaced files of the "
                "other. Keep the two in separate environments; to mend this one: "
                "python -m pip uninstall kernels && python -m pip install --force-reinstall backbench"
            )
