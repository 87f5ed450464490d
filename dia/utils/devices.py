"""Choose a device."""

import torch

from dia.errors import AttackError


def select_device(name: str) -> torch.device:
    """The device called ``name``: ``cpu``, ``cuda``, or ``auto``, which is CUDA where there is one.

    Raises:
        AttackError: CUDA is asked for and not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise AttackError(
            f"device '{name}' was asked for, but torch {torch.__version__} sees no CUDA device here"
        )
    return torch.device(name)
