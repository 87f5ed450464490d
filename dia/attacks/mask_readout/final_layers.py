"""The linear layers at a network's end between which there is nothing but elementwise functions and dropout."""

import torch

from dia.attacks.mask_readout.zero_patterns import MaskIndicator
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.factored import FactoredGradient
from dia.gradients.probe import probe_batch


def find_final_layers(
    model: BatchedGradientEngine, indicators: tuple[MaskIndicator, ...]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The last linear layers that see one position per image, as far back as dropout connects them.

    Args:
        model: The model.
        indicators: What :func:`~dia.attacks.mask_readout.zero_patterns.find_mask_indicators` returned for it.

    Returns:
        Names of their weights, the last one giving the logits, and the site before each of them but the first; of a
        single layer, the site before it. Both empty if no dropout site is right before the last layer.
    """
    x, _, label = probe_batch(model, victims=1, images=1)
    gradient = model.gradients(x, None, label, differentiable=False)
    single = {
        name: piece
        for name, piece in gradient.items()
        if isinstance(piece, FactoredGradient) and piece.deltas.shape[1:3] == (1, 1)
    }
    before = {i.slices.parameter: i for i in indicators if i.slices.kind == "column"}
    behind = {i.site: i for i in indicators if i.slices.kind == "row"}
    names = [name for name, piece in single.items() if name in before and _gives_logits(piece, int(label))]
    if len(names) != 1:
        return (), ()
    sites = [before[names[0]].site]
    while (columns := before.get(names[0])) and (rows := behind.get(columns.site)):
        if rows.slices.parameter not in single or not (_one_to_one(columns) and _one_to_one(rows)):
            break
        names.insert(0, rows.slices.parameter)
        sites.insert(0, columns.site)
    return tuple(names), tuple(sites[: max(1, len(names) - 1)])


def _one_to_one(indicator: MaskIndicator) -> bool:
    """Tell whether unit k has mask entry k."""
    return torch.equal(indicator.index, indicator.entry)


def _gives_logits(piece: FactoredGradient, label: int) -> bool:
    """Tell whether the deltas of one image are ``softmax - onehot``."""
    delta = piece.deltas.flatten().double()
    return (
        len(delta) > label
        and float(delta[label]) < 0
        and float(delta.sum().abs()) < 1e-4 * float(-delta[label])
    )
