"""Between pixels in [0, 1] and what a model sees."""

from torch import Tensor


def pixel_box(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Images of [0, 1] in normalised space: ((0 - mean) / std, (1 - mean) / std), each (C, 1, 1)."""
    return ((0 - mean) / std)[:, None, None], ((1 - mean) / std)[:, None, None]
