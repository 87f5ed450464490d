"""The scales of images of a homogeneous network (ReLU, no biases) whose directions are known.

With the images known up to a scale c each, so are their inputs a of the last layer and the logits ``c z``. The layer's
gradient ``sum_n c_n (softmax(c_n z_n) - onehot_n) a_n^T / N`` is linear in what is before the a_n, which tells c.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dia.attacks.analytic.forward_reading import solve_factor, to_last_layer
from dia.attacks.analytic.linear_chain import LinearChain
from dia.attacks.analytic.scale_search import Box, search

HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.Identity)


def is_homogeneous(chain: LinearChain) -> bool:
    """Tell whether the logits grow in proportion to the image."""
    return all(
        link.bias is None and all(isinstance(activation, HOMOGENEOUS) for activation in link.activations)
        for link in chain.links
    )


def scaled_images(
    chain: LinearChain, gradients: Mapping[str, Tensor], directions: Tensor, images: int, box: Box
) -> list[Tensor | None]:
    """The images (in,) along R directions, None where no scale is better than others.

    Args:
        chain: A homogeneous network.
        gradients: Received gradients by name, float64.
        directions: (R, in) of either sign.
        images: Number N of images over which the gradient is a mean.
        box: The pixel box.
    """
    first, last = chain.links[0], chain.links[-1]
    deltas = solve_factor(gradients[f"{first.name}.weight"], directions)
    # Only active units have deltas: the right sign makes their preactivations positive.
    sign = (deltas.abs() * (directions @ first.weight.T)).sum(1).sign()
    directions = directions * sign[:, None]
    inputs = to_last_layer(chain, gradients, directions, None)[1]
    scaled = images * solve_factor(gradients[f"{last.name}.weight"], inputs)
    logits, found = inputs @ last.weight.T, []
    for n, direction in enumerate(directions):
        onehot = torch.zeros_like(scaled[n])
        onehot[scaled[n].argmin()] = 1

        def mismatch(c: Tensor, n: int = n, onehot: Tensor = onehot) -> Tensor:
            own = c[:, None] * ((c[:, None] * logits[n]).softmax(1) - onehot)
            off = (own - scaled[n]).square().sum(1) / scaled[n].square().sum()
            return torch.where(c > 0, off, off.new_full((), 4.0)).nan_to_num(4.0)

        scale = search(mismatch, direction, box)
        found.append(None if scale is None else scale[0] * direction)
    return found
