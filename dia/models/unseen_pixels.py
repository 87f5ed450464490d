"""Pixels that nothing depends on: no attack can recover them, and no score should count them.

A strided convolution without padding may never reach the last rows and columns of an image, and a later layer may
skip more of what it did reach. Derivatives on random images tell which pixels are suspect (exactly zero on every
one of them), and one more pass proves it: with *not a number* in all suspects the logits stay numbers, which no
weights can bring about where a suspect takes part at all. Logits that do not depend on a pixel, whatever the
weights, have gradients that do not.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dia.models.dropout import Site, use_masks

PROBES = 4
"""Random images of which the derivatives are taken."""

MOST_PASSES = 200
"""Forward passes spent on telling suspects apart; those left over count as seen."""


def unseen_pixels(model: nn.Module, sites: Sequence[Site], shape: tuple[int, int, int]) -> Tensor:
    """(C, H, W) bool, on the CPU: the entries of an image that the model's logits do not depend on.

    Args:
        model: Its mode and its buffers are left as they are.
        sites: Its dropout sites; nothing is dropped here.
        shape: (C, H, W) of an image.
    """
    reference = next(model.parameters())
    rng = torch.Generator().manual_seed(0)
    probes = torch.randn(PROBES, *shape, generator=rng, dtype=torch.float64).to(reference)
    training = model.training
    model.eval()
    try:
        with use_masks(sites, None):
            x = probes.clone().requires_grad_()
            with torch.enable_grad():
                logits = model(x)
                weights = torch.randn(logits.shape, generator=rng, dtype=torch.float64).to(logits)
                (slopes,) = torch.autograd.grad((logits * weights).sum(), x, allow_unused=True)
            suspects = (slopes == 0).all(0) if slopes is not None else torch.ones(shape, dtype=torch.bool)
            unseen = torch.zeros(int(suspects.numel()), dtype=torch.bool, device=reference.device)
            left = [suspects.flatten().nonzero()[:, 0]]
            for _ in range(MOST_PASSES):
                if not left:
                    break
                group = left.pop()
                if len(group) == 0:
                    continue
                if _finite_without(model, probes[:1], group):
                    unseen[group] = True
                elif len(group) > 1:
                    left += list(group.tensor_split(2))
    finally:
        model.train(training)
    return unseen.view(shape).cpu()


@torch.no_grad()
def _finite_without(model: nn.Module, image: Tensor, group: Tensor) -> bool:
    """Tell whether the logits stay numbers when the entries ``group`` of the flattened image are none."""
    spoilt = image.clone()
    spoilt.view(-1)[group] = torch.nan
    return bool(torch.isfinite(model(spoilt)).all())
