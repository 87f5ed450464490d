"""Convert between pixels in [0, 1] and what a model sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Normalisation:
    """Per-channel standardisation ``x = (pixels - mean) / std``.

    Attributes:
        mean, std: (C, 1, 1), on [0, 1] pixels. Their precision and device are those of normalised images.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def per_channel(
        cls,
        mean: NDArray[Any] | Sequence[float],
        std: NDArray[Any] | Sequence[float],
        dtype: torch.dtype,
        device: torch.device | None = None,
    ) -> Self:
        """Build it from one ``mean`` and one ``std`` per channel."""
        return cls(*(torch.tensor(v, dtype=dtype, device=device)[:, None, None] for v in (mean, std)))

    def to(self, like: Tensor) -> "Normalisation":
        """The same normalisation in the precision and on the device of ``like``."""
        return Normalisation(self.mean.to(like), self.std.to(like))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels (..., C, H, W) in [0, 1] to normalised images."""
        return (pixels.to(self.mean) - self.mean) / self.std

    def to_pixels(self, x: Tensor) -> Tensor:
        """Normalised images (..., C, H, W) to pixels, clipped to [0, 1]."""
        return (x.to(self.mean.device) * self.std + self.mean).clamp(0, 1)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """The pixel box in normalised space: what pixels of 0 and of 1 become, each (C, 1, 1)."""
        return (0 - self.mean) / self.std, (1 - self.mean) / self.std
