"""Products by some of their terms. Sizes are such that plain Python answers the large case within a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from .common import Case, Input, Kernel


class CrMatmul(Kernel):
    """A product is known by its sum, weighted so that no two items may change places: all backends draw one sample."""

    function = "lowrank.cr_matmul"
    cases: ClassVar = {
        "small": Case((Input((16, 64)), Input((64, 16)), 8), 6171.726142884174, {"rng": 1}),
        "medium": Case((Input((64, 1024)), Input((1024, 64)), 128), 1572648.780402135, {"rng": 1}),
        "large": Case((Input((200, 2048)), Input((2048, 200)), 256), 30708347.704479486, {"rng": 1}),
    }

    @staticmethod
    def digest(*results: Any) -> float:
        return float(results[0].ravel() @ Input((results[0].size,), 1, 2).make())


class CrPlan(Kernel):
    function = "lowrank.cr_plan"
    cases: ClassVar = {
        "small": Case((Input((16, 64)), Input((64, 16))), 2.481368557026703),
        "medium": Case((Input((64, 1024)), Input((1024, 64))), 2.880956752048472),
        "large": Case((Input((200, 2048)), Input((2048, 200))), 2.927892065951048),
    }

    def _prepare(self, backend: str, case: Case) -> Callable[[], Any]:
        plan = super()._prepare(backend, case)
        return lambda: sum(plan()[1])  # the errors; Dask makes a plain tuple of one with names


class EstimateError(Kernel):
    function = "lowrank.estimate_error"
    cases: ClassVar = {
        "small": Case((Input((16, 64)), Input((64, 16)), Input((16, 16))), 222.6235881135079, {"rng": 1}),
        "medium": Case((Input((64, 1024)), Input((1024, 64)), Input((64, 64))), 22864.001393894752, {"rng": 1}),
        "large": Case((Input((200, 2048)), Input((2048, 200)), Input((200, 200))), 98482.57601164152, {"rng": 1}),
    }


class RandomizedSvd(Kernel):
    """Singular values of one pair each have vectors that are told apart by rounding alone: only values are compared."""

    function = "lowrank.randomized_svd"
    cases: ClassVar = {
        "small": Case((Input((32, 24)), 4), 40.51465578546242, {"rng": 1}),
        "medium": Case((Input((100, 80)), 8), 156.5835356971652, {"rng": 1}),
        "large": Case((Input((300, 200)), 16), 507.28207481986624, {"rng": 1}),
    }

    @staticmethod
    def digest(*results: Any) -> float:
        return float(results[1] @ Input(results[1].shape, 1, 2).make())
