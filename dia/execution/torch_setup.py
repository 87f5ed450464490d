"""Set up torch in this process: device, threads, precision of matrix products."""

import torch

from dia.settings.scenario import Settings
from dia.utils.devices import select_device


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
    return select_device(device)
