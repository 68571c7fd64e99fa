"""Recurrences along time. Sizes are such that plain Python answers the large case within a second."""

from __future__ import annotations

from typing import Any, ClassVar

from .common import Case, Input, Kernel

SMALL, MEDIUM, LARGE = (64, 8), (4, 256, 32), (8, 1024, 64)


def weighted(*results: Any) -> float:
    """The sum of all items of all results, weighted so that no two may change places."""
    return sum(float(each.ravel() @ Input((each.size,), 1, 2).make()) for each in results)


class LinearScan(Kernel):
    """A factor for each item, as gates give it."""

    function = "recurrence.linear_scan"
    digest = staticmethod(weighted)
    cases: ClassVar = {
        "small": Case((Input(SMALL), Input(SMALL, -1)), 353.08693311670555),
        "medium": Case((Input(MEDIUM), Input(MEDIUM, -1)), -867.5308689335361),
        "large": Case((Input(LARGE), Input(LARGE, -1)), -20968.14449199244),
    }


class LinearScanVjp(Kernel):
    function = "recurrence.linear_scan_vjp"
    digest = staticmethod(weighted)
    cases: ClassVar = {
        "small": Case((Input(SMALL), Input(SMALL, -1), Input(SMALL, -1, 2)), 1932.9416992302736),
        "medium": Case((Input(MEDIUM), Input(MEDIUM, -1), Input(MEDIUM, -1, 2)), 52503.382085691206),
        "large": Case((Input((8, 512, 64)), Input((8, 512, 64), -1), Input((8, 512, 64), -1, 2)), 510351.77318384),
    }


class Spikes(Input):
    """Zeros, but for a hundredth of the places."""

    def make(self) -> Any:
        import numpy as np

        values = super().make()
        return np.where(values < self.low + (self.high - self.low) / 100, values, 0.0)


class EventScan(Kernel):
    """A hundredth of the inputs are events."""

    function = "recurrence.event_scan"
    digest = staticmethod(weighted)
    cases: ClassVar = {
        "small": Case((Input(SMALL[-1:]), Spikes(SMALL, 1, 2)), 4.035721193642418),
        "medium": Case((Input(MEDIUM[-1:]), Spikes(MEDIUM, 1, 2)), 341.47336617296725),
        "large": Case((Input(LARGE[-1:]), Spikes(LARGE, 1, 2)), 5373.63415252324),
    }


class Qrnn(Kernel):
    function = "recurrence.qrnn"
    digest = staticmethod(weighted)
    cases: ClassVar = {
        "small": Case((Input(SMALL, -1), Input(SMALL), Input(SMALL)), 370.03810908460747),
        "medium": Case((Input(MEDIUM, -1), Input(MEDIUM), Input(MEDIUM)), 31673.999087955006),
        "large": Case((Input((8, 512, 64), -1), Input((8, 512, 64)), Input((8, 512, 64))), 269040.2922957921),
    }


class Sru(Kernel):
    """With peepholes, so that it goes step by step."""

    function = "recurrence.sru"
    digest = staticmethod(weighted)
    cases: ClassVar = {
        "small": Case(
            (Input(SMALL, -1), Input((8, 24), -1), Input((2, 8), -1), Input((2, 8), -1)), -101.94727221567658
        ),
        "medium": Case(
            (Input((2, 128, 32), -1), Input((32, 96), -0.2, 0.2), Input((2, 32), -1), Input((2, 32), -1)),
            347.9935383021428,
        ),
        "large": Case(
            (Input((4, 128, 64), -1), Input((64, 192), -0.1, 0.1), Input((2, 64), -1), Input((2, 64), -1)),
            2933.731444266939,
        ),
    }


class Lru(Kernel):
    function = "recurrence.lru"
    digest = staticmethod(weighted)
    cases: ClassVar = {
        "small": Case((Input(SMALL[-1:]), Input(SMALL, -1)), 217.71678078546014),
        "medium": Case((Input(MEDIUM[-1:]), Input(MEDIUM, -1)), 4876.39850858789),
        "large": Case((Input(LARGE[-1:]), Input(LARGE, -1)), 68943.55216734638),
    }
