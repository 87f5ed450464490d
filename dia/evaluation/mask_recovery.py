"""How well an attack recovers the client's dropout masks."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def align_masks(kept: Sequence[Tensor], true: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    """Recovered masks (V, N, ...) a site, images of one label in the order that agrees best with the true ones.

    A gradient tells images apart by their labels alone. Masks of local steps over some of the images stay as they are.
    """
    victims, images = labels.shape
    if images == 1:
        return list(kept)
    from scipy.optimize import linear_sum_assignment  # half a second, which a cell of single images is spared

    order = torch.arange(images).expand(victims, -1).clone()
    whole = all(mask.shape[1] == images for mask in kept)
    for victim in range(victims if whole else 0):
        for label in set(labels[victim].tolist()):
            same = torch.nonzero(labels[victim] == label).flatten()
            if len(same) > 1:
                agreement = torch.zeros(len(same), len(same), dtype=torch.int64)
                for k, t in zip(kept, true, strict=True):
                    a, b = ((mask[victim, same] > 0.5).flatten(1) for mask in (t, k))
                    agreement += (a[:, None] == b[None]).sum(2).cpu()
                order[victim, same.cpu()] = same.cpu()[
                    linear_sum_assignment(agreement.numpy(), maximize=True)[1]
                ]
    rows = torch.arange(victims)[:, None]
    return [mask[rows, order] for mask in kept] if whole else list(kept)


def mask_accuracy(kept: Sequence[Tensor], true: Sequence[Tensor], counted: Sequence[Tensor]) -> Tensor:
    """(V,) share of the counted entries recovered, over all sites together; all arguments (V, ...) bool a site."""
    right = _entries((k == t) & c for k, t, c in zip(kept, true, counted, strict=True))
    return right / _entries(counted)


def _entries(marked: Iterable[Tensor]) -> Tensor:
    """(V,) how many entries are marked, over all sites together."""
    return torch.stack([mark.flatten(1).sum(1) for mark in marked]).sum(0)


def mask_accuracy_chance(true: Sequence[Tensor], counted: Sequence[Tensor]) -> Tensor:
    """(V,) what the better of "all kept" and "all dropped" reaches."""
    ones = [torch.ones_like(t) for t in true]
    all_kept = mask_accuracy(ones, true, counted)
    return torch.maximum(all_kept, 1 - all_kept)


def dropped_fraction(kept: Sequence[Tensor], counted: Sequence[Tensor]) -> Tensor:
    """(V,) share of the counted entries that the recovered masks drop: the attacker's estimate of p."""
    return _entries(~k & c for k, c in zip(kept, counted, strict=True)) / _entries(counted)
