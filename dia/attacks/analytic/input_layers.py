"""Linear layers that see the image itself: their gradients are sums of outer products with its pixels."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.probe import probe_batch
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
    """Find them by sending an image whose pixels are their own numbers through the model, dropout off and on."""
    pixels = int(torch.Size(model.shape).numel())
    numbers = torch.arange(pixels, device=model.device, dtype=torch.float64)
    if float(numbers.to(model.dtype)[-1]) != pixels - 1:  # too many for this precision to distinguish
        return []
    x = numbers.to(model.dtype).view(1, *model.shape)
    masks = [mask.flatten(0, 1) for mask in probe_batch(model, victims=1, images=1).masks]
    found, dropped = _linear_inputs(model, x, None), _linear_inputs(model, x, masks)
    layers = []
    for name, calls in found.items():
        if len(calls) != 1 or len(dropped[name]) != 1 or not torch.equal(calls[0], dropped[name][0]):
            continue  # behind dropout it would see a damaged image
        index = calls[0].double()
        if index.numel() == pixels and torch.equal(index.flatten().sort().values, numbers):
            layers.append(PixelLayer(name, index.long().view(-1, index.shape[-1]).cpu()))
    return layers


def _linear_inputs(
    model: BatchedGradientEngine, x: Tensor, masks: list[Tensor] | None
) -> dict[str, list[Tensor]]:
    """The inputs of the model's linear layers for images (N, C, H, W), one tensor per call."""
    seen: dict[str, list[Tensor]] = {}

    def remember(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.setdefault(name, []).append(args[0] if args else kwargs["input"])

        return hook

    layers = [(name, m) for name, m in model.model.named_modules() if type(m) is nn.Linear]
    hooks = [m.register_forward_pre_hook(remember(name), with_kwargs=True) for name, m in layers]
    try:
        with use_masks(model.sites, masks):
            model.model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return seen
