"""Choose a device, tell its errors, and keep its products exact.

``cuda`` is also what torch calls an AMD GPU (ROCm). Other accelerators (Apple's MPS, Intel's XPU) are refused: MPS has
no float64, which learning rates and scores need, and neither was ever tried.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dia.errors import AttackError
from dia.utils.log import LOG

OUT_OF_MEMORY = ("out of memory", "_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED")
"""In messages of plain RuntimeErrors: CUDA's own, and of libraries whose workspace or handle does not fit."""


def select_device(name: str) -> torch.device:
    """The device called ``name``: ``cpu``, ``cuda``, or ``auto``, which is CUDA where there is one.

    Raises:
        AttackError: CUDA is asked for and not there, or a device that is not supported.
    """
    kind = torch.device("cpu" if name == "auto" else name).type
    if kind not in ("cpu", "cuda"):
        raise AttackError(
            f"device '{name}' is not supported; use cpu, cuda (NVIDIA, or AMD with ROCm) or auto"
        )
    if name == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        other = torch.accelerator.current_accelerator(check_available=True)
        if other is not None and other.type != kind:
            LOG.warning("on the CPU: the device '%s' that torch sees here is not supported", other.type)
        return torch.device(kind)
    if kind == "cuda" and not torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is '{visible}')"
        raise AttackError(
            f"device '{name}' was asked for, but torch {torch.__version__} sees no CUDA device here{hidden}"
        )
    return torch.device(name)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that something did not fit in the device's memory, in torch's words or a library's."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


@contextmanager
def full_precision_products() -> Iterator[None]:
    """Inside the block matrix products and convolutions are exact to rounding, whatever ``tf32`` allows.

    A check of one computation against another would take TF32's three digits for a difference.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    allowed = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = allowed
