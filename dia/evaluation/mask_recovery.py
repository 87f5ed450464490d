"""Compare recovered dropout masks with the clients' own.

Masks are lists with one bool tensor (V, N, *site.shape) per dropout site, True where an entry is kept. Only entries
that can influence the gradient count (:attr:`dia.evaluation.experiment.Experiment.influential_entries`).
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def mask_accuracy(
    recovered: Sequence[Tensor], true: Sequence[Tensor], influential: Sequence[Tensor]
) -> Tensor:
    """Fraction (V,) of the influential entries that are recovered, over all sites together."""
    right = _entries((r == t) & i for r, t, i in zip(recovered, true, influential, strict=True))
    return right / _entries(influential)


def mask_accuracy_chance(true: Sequence[Tensor], influential: Sequence[Tensor]) -> Tensor:
    """Mask accuracy (V,) of the better of "all kept" and "all dropped"."""
    all_kept = mask_accuracy([torch.ones_like(t) for t in true], true, influential)
    return torch.maximum(all_kept, 1 - all_kept)


def dropped_fraction(recovered: Sequence[Tensor], influential: Sequence[Tensor]) -> Tensor:
    """Fraction (V,) of the influential entries that the recovered masks drop: the attacker's estimate of p."""
    dropped = _entries(~r & i for r, i in zip(recovered, influential, strict=True))
    return dropped / _entries(influential)


def align_masks(recovered: Sequence[Tensor], true: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    """Reorder recovered masks among images of one label, so that they agree best with the true ones.

    A gradient tells images apart by their labels alone. Masks of local steps over some of the images stay as they are.

    Args:
        recovered, true: Per site (V, N, *site.shape), above 0.5 where an entry is kept.
        labels: (V, N) the true labels.
    """
    victims, images = labels.shape
    if images == 1 or any(mask.shape[1] != images for mask in recovered):
        return list(recovered)
    from scipy.optimize import linear_sum_assignment  # half a second, which a cell of single images is spared

    order = torch.arange(images).expand(victims, -1).clone()
    for victim in range(victims):
        for label in set(labels[victim].tolist()):
            same = torch.nonzero(labels[victim] == label).flatten().cpu()
            if len(same) > 1:
                agreement = _agreements([t[victim] for t in true], [r[victim] for r in recovered], same)
                order[victim, same] = same[linear_sum_assignment(agreement.numpy(), maximize=True)[1]]
    rows = torch.arange(victims)[:, None]
    return [mask[rows, order] for mask in recovered]


def _agreements(true: Sequence[Tensor], recovered: Sequence[Tensor], images: Tensor) -> Tensor:
    """Equal entries of each true mask with each recovered one, over all sites, (K, K), for K images of one victim."""
    agreement = torch.zeros(len(images), len(images), dtype=torch.int64)
    for site in zip(true, recovered, strict=True):
        t, r = ((mask[images.to(mask.device)] > 0.5).flatten(1) for mask in site)
        agreement += (t[:, None] == r[None]).sum(2).cpu()
    return agreement


def _entries(marked: Iterable[Tensor]) -> Tensor:
    """Number (V,) of entries that are marked, over all sites together."""
    return torch.stack([mark.flatten(1).sum(1) for mark in marked]).sum(0)
