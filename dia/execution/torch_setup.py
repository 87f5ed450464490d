"""How torch computes in this process: device, threads, precision of matrix products."""

import torch

from dia.errors import AttackError
from dia.settings.scenario import Settings


def configure_torch(settings: Settings, device: str, threads: int) -> torch.device:
    """Set up torch as a cell's settings ask.

    Args:
        settings: Of them, ``tf32``.
        device: ``cpu``, ``cuda``, or ``auto``: CUDA where there is one.
        threads: CPU threads to use.

    Returns:
        The device to compute on.

    Raises:
        AttackError: CUDA is asked for and not there.
    """
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = settings.tf32
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise AttackError(
            f"device '{device}' was asked for, but torch {torch.__version__} sees no CUDA device here"
        )
    return torch.device(device)
