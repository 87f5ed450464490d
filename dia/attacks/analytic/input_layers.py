"""Linear layers that see the image itself: their gradients are sums of outer products with its pixels."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dia.gradients.batched import BatchedGradientEngine
from dia.models.dropout import use_masks


@dataclass(frozen=True)
class PixelLayer:
    """A Linear layer whose inputs are the image's pixels, each exactly once.

    Attributes:
        name: The layer's name.
        index: (T, in_features) int64: which pixel of the flattened (C, H, W) image each input is.
    """

    name: str
    index: Tensor

    def image(self, inputs: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The image (C, H, W) whose inputs (T, in_features) these are."""
        flat = torch.empty_like(inputs).flatten()
        flat[self.index.flatten()] = inputs.flatten()
        return flat.view(shape)

    def inputs(self, image: Tensor) -> Tensor:
        """(K, C, H, W) images to the layer's inputs (K, T, in_features)."""
        return image.flatten(1)[:, self.index]


@torch.no_grad()
def pixel_layers(model: BatchedGradientEngine) -> list[PixelLayer]:
    """Find them by sending an image whose pixels are their own numbers through the model."""
    pixels = int(torch.Size(model.shape).numel())
    numbers = torch.arange(pixels, device=model.device, dtype=torch.float64)
    if float(numbers.to(model.dtype)[-1]) != pixels - 1:  # too many for this precision to distinguish
        return []
    seen: dict[str, list[Tensor]] = {}

    def remember(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.setdefault(name, []).append(args[0] if args else kwargs["input"])

        return hook

    layers = [(name, m) for name, m in model.model.named_modules() if type(m) is nn.Linear]
    hooks = [m.register_forward_pre_hook(remember(name), with_kwargs=True) for name, m in layers]
    try:
        with use_masks(model.sites, None):
            model.model(numbers.to(model.dtype).view(1, *model.shape))
    finally:
        for hook in hooks:
            hook.remove()
    found = []
    for name, calls in seen.items():
        index = calls[0].double()
        if (
            len(calls) == 1
            and index.numel() == pixels
            and torch.equal(index.flatten().sort().values, numbers)
        ):
            found.append(PixelLayer(name, index.long().view(-1, index.shape[-1]).cpu()))
    return found
