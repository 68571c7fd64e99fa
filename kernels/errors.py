"""What can go wrong in choosing a backend. Bad arguments raise plain ``TypeError`` and ``ValueError``."""

from __future__ import annotations

__all__ = ["BackendError", "BackendNotInstalledError", "BackendWarning", "UnknownBackendError", "UnsupportedError"]


class BackendError(Exception):
    """The backend that was asked for cannot run this call."""


class UnknownBackendError(BackendError, ValueError):
    """No backend has this name."""


class BackendNotInstalledError(BackendError, ImportError):
    """The backend exists, but what it needs is missing on this machine."""


class UnsupportedError(BackendError, NotImplementedError):
    """The backend does not have this function, or not for these arguments."""


class BackendWarning(UserWarning):
    """The preference in ``BACKBENCH_BACKEND`` could not be followed."""
