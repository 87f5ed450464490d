"""Choose a device, tell its errors, and keep its products exact.

``cuda`` is also what torch calls an AMD GPU (ROCm). Other accelerators (Apple's MPS, Intel's XPU) are refused: MPS has
no float64, which learning rates and scores need, and neither was ever tried.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dia.errors import AttackError
from dia.utils.log import LOG

USABLE = "use cpu, cuda (NVIDIA, or AMD with ROCm) or auto"
GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg")
"""In /dev where the kernel has a GPU: NVIDIA's, AMD's, and Windows' for Linux (WSL)."""
VISIBILITY = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
OUT_OF_MEMORY = ("out of memory", "_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED")
"""In messages of plain RuntimeErrors: CUDA's own, and of libraries whose workspace or handle does not fit."""


def select_device(name: str) -> torch.device:
    """The device called ``name``: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``, which is CUDA where there is one.

    Raises:
        AttackError: CUDA is asked for and not there, a number beyond the cards, or a device that is not supported.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else _cpu_for_want_of_a_gpu())
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise AttackError(f"there is no device '{name}'; {USABLE}") from error
    if device.type not in ("cpu", "cuda"):
        raise AttackError(f"device '{name}' is not supported; {USABLE}")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise AttackError(f"device '{name}' was asked for, but {_why_no_cuda()}")
        if (device.index or 0) >= (count := torch.cuda.device_count()):
            raise AttackError(f"device '{name}' was asked for, but there are {count}, numbered from 0")
    return device


def _cpu_for_want_of_a_gpu() -> str:
    """The CPU; says so where there is a GPU that cannot be used."""
    other = torch.accelerator.current_accelerator(check_available=True)
    if other is not None:
        LOG.warning("on the CPU: the device '%s' that torch sees here is not supported", other.type)
    elif (
        any(path for pattern in GPU_FILES for path in Path("/dev").glob(pattern))
        or "SLURM_JOB_GPUS" in os.environ
    ):
        LOG.warning("on the CPU although this machine has a GPU: %s", _why_no_cuda())
    return "cpu"


def _why_no_cuda() -> str:
    """The message where torch sees no CUDA device."""
    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"torch {torch.__version__} is built without CUDA; install a build for your GPU (see pytorch.org)"
        )
    visible = [f"{name} is '{os.environ[name]}'" for name in VISIBILITY if name in os.environ]
    return f"torch {torch.__version__} sees no CUDA device here" + (
        f" ({', '.join(visible)})" if visible else ""
    )


def total_memory(device: torch.device) -> float:
    """Bytes of memory that a GPU, or the part of one that this process sees, has; infinite for the CPU."""
    if device.type == "cpu":
        return math.inf
    return float(torch.cuda.get_device_properties(device).total_memory)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that something did not fit in the device's memory, in torch's words or a library's."""
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
