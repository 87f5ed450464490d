"""LPIPS: a perceptual distance by a pretrained network. Its weights are looked for, never fetched."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dia.errors import AttackError
from dia.utils.torchvision_compat import import_torchvision

SMALLEST = 64
"""Pixels. LPIPS was made for 64 x 64, and its networks pool several times: smaller images are enlarged to this."""


def weights_file(network: str) -> Path:
    """The folder in which torchvision keeps the weights of ``alex``, ``vgg`` or ``squeeze`` once they are there."""
    models = import_torchvision().models
    weights = {
        "alex": models.AlexNet_Weights,
        "vgg": models.VGG16_Weights,
        "squeeze": models.SqueezeNet1_1_Weights,
    }[network].IMAGENET1K_V1
    return Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[1])


def check_weights(network: str) -> None:
    """Make sure that LPIPS can be computed; ``none`` needs nothing.

    Raises:
        AttackError: The weights are not on this machine.
    """
    if network == "none" or (path := weights_file(network)).is_file():
        return
    raise AttackError(
        f"setting lpips_network is {network!r}, but its pretrained weights are not here, and nothing is fetched "
        f"without being asked: put torchvision's {path.name} (pytorch.org has it) into {path.parent}, a folder that "
        "TORCH_HOME moves, or leave the setting at none"
    )


def lpips(original: Tensor, reconstruction: Tensor, network: str) -> Tensor:
    """LPIPS of pairs of images.

    Args:
        original: (V, N, C, H, W) in [0, 1], C = 1 (repeated to grey RGB) or 3.
        reconstruction: The same shape, matched to the originals.
        network: ``alex``, ``vgg`` or ``squeeze``.

    Returns:
        float64 (V, N): 0 for equal images; larger is further apart.

    Raises:
        AttackError: The weights are not on this machine.

    Source:
        Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (CVPR 2018).
    """
    check_weights(network)
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    metric = LearnedPerceptualImagePatchSimilarity(net_type=network, reduction="sum", normalize=True)  # type: ignore[arg-type]
    pairs = zip(_seen(original).split(1), _seen(reconstruction).split(1), strict=True)
    with torch.no_grad():
        values = [metric.net(2 * a - 1, 2 * b - 1).double().flatten() for a, b in pairs]
    return torch.cat(values).view(original.shape[:2])


def _seen(images: Tensor) -> Tensor:
    """(V, N, C, H, W) as the network takes it: (images, 3, H, W) float32, at least 64 pixels each way."""
    flat = images.flatten(0, 1).float().cpu()
    flat = flat.expand(-1, 3, -1, -1) if flat.shape[1] == 1 else flat
    factor = max(1.0, SMALLEST / min(flat.shape[-2:]))
    if factor == 1.0:
        return flat
    sides = [round(side * factor) for side in flat.shape[-2:]]
    return interpolate(flat, size=sides, mode="bilinear", align_corners=False)
