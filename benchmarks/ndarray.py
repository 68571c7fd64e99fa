"""The operations on arrays. Sizes are such that plain Python answers the large case within a second."""

from __future__ import annotations

from typing import Any, ClassVar

from .common import Case, Input, Kernel


class Pipeline(Kernel):
    """A result of arrays is known by its sum, weighted so that no two items may change places."""

    @staticmethod
    def digest(*results: Any) -> float:
        return sum(float(result.ravel() @ Input((result.size,), 1, 2).make()) for result in results)


class LogGram(Pipeline):
    function = "ndarray.log_gram"
    cases: ClassVar = {
        "small": Case((Input((1000, 3)),), -154.33829462401357),
        "medium": Case((Input((10**5, 3)),), -15540.58712644268),
        "large": Case((Input((10**4, 32)),), 7687.122461546574),
    }


class Softmax(Pipeline):
    function = "ndarray.softmax"
    cases: ClassVar = {
        "small": Case((Input((32, 32), -4, 4),), 59.97569483085124),
        "medium": Case((Input((256, 256), -4, 4),), 480.07969545982337),
        "large": Case((Input((800, 800), -4, 4),), 1500.264928470063),
    }


class Logsumexp(Pipeline):
    function = "ndarray.logsumexp"
    cases: ClassVar = {
        "small": Case((Input((32, 32), -4, 4),), 259.898247044752),
        "medium": Case((Input((256, 256), -4, 4),), 2865.648339871649),
        "large": Case((Input((800, 800), -4, 4),), 10326.580882661354),
    }


class BatchNorm(Pipeline):
    function = "ndarray.batch_norm"
    cases: ClassVar = {
        "small": Case((Input((64, 16)), Input((16,)), Input((16,))), 937.438035307853),
        "medium": Case((Input((1000, 64)), Input((64,)), Input((64,))), 58209.200317673065),
        "large": Case((Input((10**4, 64)), Input((64,)), Input((64,))), 581557.5156955413),
    }


class CausalConv1d(Pipeline):
    function = "ndarray.causal_conv1d"
    cases: ClassVar = {
        "small": Case((Input((1, 64, 4)), Input((3, 4, 4), -1)), 4.591918093178322, {"dilation": 2}),
        "medium": Case((Input((2, 512, 16)), Input((3, 16, 16), -1)), -387.2027885842051, {"dilation": 8}),
        "large": Case((Input((2, 1024, 32)), Input((3, 32, 32), -1)), 326.3670711324236, {"dilation": 64}),
    }


class Attention(Pipeline):
    function = "ndarray.attention"
    cases: ClassVar = {
        "small": Case((Input((1, 16, 8)), Input((1, 16, 8), -1), Input((1, 16, 8))), 97.54959934208473),
        "medium": Case((Input((2, 128, 32)), Input((2, 128, 32), -1), Input((2, 128, 32))), 6303.941777752965),
        "large": Case((Input((1, 256, 64)), Input((1, 256, 64), -1), Input((1, 256, 64))), 12707.732387361026),
    }


class Seq2seqMask(Pipeline):
    function = "ndarray.seq2seq_mask"
    cases: ClassVar = {
        "small": Case((8, 8), 245.3234940475155),
        "medium": Case((128, 128), 61538.035264783364),
        "large": Case((1000, 500), 2437878.3598876),
    }


class Hsic(Kernel):
    function = "ndarray.hsic"
    cases: ClassVar = {
        "small": Case((Input((32, 2)), Input((32, 3))), 0.0008381005248682783),
        "medium": Case((Input((200, 2)), Input((200, 3))), 0.0005649000947341012),
        "large": Case((Input((700, 2)), Input((700, 3))), 0.000571493350385556),
    }


class CapsuleRouting(Pipeline):
    function = "ndarray.capsule_routing"
    cases: ClassVar = {
        "small": Case((Input((32, 10, 4), -0.5, 0.5),), 0.005249332099702231),
        "medium": Case((Input((2, 128, 10, 16), -0.5, 0.5),), 0.5698072253320083),
        "large": Case((Input((4, 1152, 10, 16), -0.5, 0.5),), 2.2597036904977084),
    }


class RandomAngles(Pipeline):
    function = "ndarray.random_angles"
    cases: ClassVar = {
        "small": Case((100, 10**3), 2359.40244064672, {"rng": 1}),
        "medium": Case((100, 10**4), 23561.713832423768, {"rng": 1}),
        "large": Case((100, 5 * 10**4), 117837.93002227071, {"rng": 1}),
    }


class AnglePdf(Pipeline):
    function = "ndarray.angle_pdf"
    cases: ClassVar = {
        "small": Case((Input((10**3,), 0, 3), 100), 506.4302040105963),
        "medium": Case((Input((10**5,), 0, 3), 100), 50786.56399262443),
        "large": Case((Input((5 * 10**5,), 0, 3), 100), 253933.16976583426),
    }
