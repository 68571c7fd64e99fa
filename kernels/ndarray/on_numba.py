"""Array operations, fused: each reads its input while it is in cache, and stores nothing of its size but the result."""

from kernels.ndarray.causal_products import causal_conv1d
from kernels.ndarray.flash_attention import attention
from kernels.ndarray.fused_angles import angle_pdf, random_angles, seq2seq_mask
from kernels.ndarray.fused_gram import log_gram
from kernels.ndarray.fused_norm import batch_norm
from kernels.ndarray.fused_routing import capsule_routing
from kernels.ndarray.fused_rows import logsumexp, softmax
from kernels.ndarray.pairwise import hsic

__all__ = [
    "angle_pdf",
    "attention",
    "batch_norm",
    "capsule_routing",
    "causal_conv1d",
    "hsic",
    "log_gram",
    "logsumexp",
    "random_angles",
    "seq2seq_mask",
    "softmax",
]
