"""Where in a gradient dropout shows.

A dropped unit often leaves an exact zero somewhere: the row or column of a weight gradient, the entry of a
position's or a bias's. Which zeros tell which mask entries depends on the architecture, and nothing about it
is taken on trust: the attacker computes gradients of random images under random masks of its own, and looks
for places in the gradient that are zero exactly where an entry was dropped, every time. With 64 masks a
coincidence has probability 2^-64.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.factored import FactoredGradient, ParameterGradient

MASKS = 64
"""Random masks a probing image is seen under: one bit each of a pattern."""

MOST_IMAGES = 12
"""Probing images at most. A unit that a ReLU silences shows its mask under other images only."""

AT_ONCE = 8
"""Gradients computed together."""

Place = tuple[str, str]
"""A parameter and what of it is looked at: ``row``, ``column`` or ``entry``."""


@dataclass(frozen=True)
class MaskIndicator:
    """Places in the gradient of one parameter that tell entries of one site's masks.

    Attributes:
        place: Where.
        index: (K,) which rows, columns or entries.
        site: Which site.
        entry: (K,) which entries of its flattened mask.
        certain: Whether a zero always meant dropped; else it may also be a silent unit (as behind a ReLU), whose
            entry cannot influence the gradient.
    """

    place: Place
    index: Tensor
    site: int
    entry: Tensor
    certain: bool


def find_mask_indicators(
    model: BatchedGradientEngine, like: Tensor, classes: int
) -> tuple[MaskIndicator, ...]:
    """Probe a model.

    Args:
        model: The model.
        like: (C, H, W), for shape, dtype and device.
        classes: Labels of the probes are below this.
    """
    found: dict[tuple[int, Place], NDArray[np.int64]] = {}  # rows (index, entry, images that showed it)
    unchanged = 0
    for image in range(MOST_IMAGES):
        before = sum(map(len, found.values()))
        for key, pairs in _pairs(model, like, classes, image).items():
            known = found.get(key, np.empty((0, 3), np.int64))
            together = np.concatenate([known, np.column_stack([pairs, np.ones(len(pairs), np.int64)])])
            unique, inverse = np.unique(together[:, :2], axis=0, return_inverse=True)
            counts = np.bincount(inverse.ravel(), weights=together[:, 2]).astype(np.int64)
            found[key] = np.column_stack([unique, counts])
        unchanged = unchanged + 1 if sum(map(len, found.values())) == before else 0
        if unchanged:
            break
    seen = image + 1
    sights = []
    for (site, place), rows in sorted(found.items()):
        index, entry, count = torch.from_numpy(rows).unbind(1)
        sights.append(MaskIndicator(place, index, site, entry, bool((count == seen).all())))
    return tuple(sights)


def find_linear_chain(
    model: BatchedGradientEngine, sights: tuple[MaskIndicator, ...], like: Tensor, classes: int
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The last linear layers that see one position an image, as far back as dropout is all that is between them.

    Args:
        model, like, classes: As for :func:`find_mask_indicators`.
        sights: What that found.

    Returns:
        Names of their weights, the last one giving the logits, and the site before each of them but the first; of a
        single layer, the site before it. Nothing where no dropout site is right before the last layer.
    """
    x, label = _probe(like, classes, 0)
    pieces = model.gradients(x, None, label, differentiable=False)
    single = {
        n: p for n, p in pieces.items() if isinstance(p, FactoredGradient) and p.deltas.shape[1:3] == (1, 1)
    }
    before = {sight.place[0]: sight for sight in sights if sight.place[1] == "column"}
    behind = {sight.site: sight for sight in sights if sight.place[1] == "row"}
    names = [name for name, piece in single.items() if name in before and _of_logits(piece, int(label))]
    if len(names) != 1:
        return (), ()
    layers = [before[names[0]].site]
    while (at := before.get(names[0])) and (rows := behind.get(at.site)):
        if rows.place[0] not in single or not (_in_order(at) and _in_order(rows)):
            break
        names.insert(0, rows.place[0])
        layers.insert(0, at.site)
    return tuple(names), tuple(layers[: max(1, len(names) - 1)])


def _in_order(sight: MaskIndicator) -> bool:
    return torch.equal(sight.index, sight.entry)


def _of_logits(piece: FactoredGradient, label: int) -> bool:
    """Whether the deltas of one image are ``softmax - onehot``."""
    delta = piece.deltas.flatten().double()
    return (
        len(delta) > label
        and float(delta[label]) < 0
        and float(delta.sum().abs()) < 1e-4 * float(-delta[label])
    )


def _probe(like: Tensor, classes: int, image: int) -> tuple[Tensor, Tensor]:
    """A random image (1, 1, C, H, W) and label (1, 1)."""
    rng = torch.Generator().manual_seed(image)
    x = torch.randn(1, 1, *like.shape[-3:], generator=rng, dtype=torch.float64).to(like)
    return x, torch.randint(classes, (1, 1), generator=rng).to(like.device)


def _pairs(
    model: BatchedGradientEngine, like: Tensor, classes: int, image: int
) -> dict[tuple[int, Place], NDArray[np.int64]]:
    """Per (site, place) the (index, entry) pairs that one probing image shows."""
    x, label = _probe(like, classes, image)
    rng = torch.Generator().manual_seed(image)
    patterns: dict[Place, list[NDArray[np.bool_]]] = {}
    drawn: list[list[NDArray[np.bool_]]] = [[] for _ in model.sites]
    for _ in range(MASKS // AT_ONCE):
        masks = [torch.rand(AT_ONCE, 1, *site.shape, generator=rng) < 0.5 for site in model.sites]
        pieces = model.gradients(
            x.expand(AT_ONCE, -1, -1, -1, -1),
            [mask.to(like) for mask in masks],
            label.expand(AT_ONCE, -1),
            differentiable=False,
        )
        for place, present in _places(model.model, pieces).items():
            patterns.setdefault(place, []).append(present.cpu().numpy())
        for site, mask in zip(drawn, masks, strict=True):
            site.append(mask.flatten(1).numpy())
    keys = {place: _key(np.concatenate(parts)) for place, parts in patterns.items()}
    pairs = {}
    for number, parts in enumerate(drawn):
        wanted = _key(np.concatenate(parts))
        order = np.argsort(wanted)
        ranked = wanted[order]
        for place, key in keys.items():
            at = np.searchsorted(ranked, key).clip(max=len(ranked) - 1)
            index = np.nonzero(ranked[at] == key)[0]
            if len(index):
                pairs[number, place] = np.column_stack([index, order[at[index]]])
    return pairs


def _key(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(64, K) patterns as K numbers."""
    packed = np.packbits(bits, axis=0, bitorder="little")
    return np.ascontiguousarray(packed.T).view(np.uint64).ravel()


def _places(model: nn.Module, pieces: Mapping[str, ParameterGradient]) -> dict[Place, Tensor]:
    """Every place of a gradient: whether it is not zero, (V, K) bool."""
    found = {}
    for name, piece in pieces.items():
        owner = model.get_submodule(name.rpartition(".")[0])
        linear = isinstance(owner, nn.Linear | nn.Conv2d) and name.endswith("weight")
        gradient = piece.dense()
        for kind in ("row", "column") if linear else ("entry",):
            found[name, kind] = alive(gradient, kind)
    return found


def alive(gradient: Tensor, kind: str) -> Tensor:
    """(V, K) bool: which rows, columns or entries of a gradient (V, ...) have anything that is not zero."""
    value = gradient != 0
    if kind == "entry":
        return value.flatten(1)
    return value.flatten(2).any(2) if kind == "row" else value.transpose(1, 2).flatten(2).any(2)
