"""Mask entries that can be read in a gradient's zeros.

A dropped unit often leaves an exact zero somewhere: the row or column of a weight gradient, the entry of a
position's or a bias's. Which zeros tell which mask entries depends on the architecture, and nothing about it
is taken on trust: the attacker computes gradients of random images under random masks of its own, and looks
for places in the gradient that are zero exactly where an entry was dropped, every time. With 64 masks a
coincidence has probability 2^-64.

One image: each such place tells its entry. A batch: a zero tells that all images dropped the entry, anything
else that some kept it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dia.attacks.problem import Problem
from dia.matching.engine import Engine
from dia.matching.folded import FoldedModel
from dia.matching.pieces import Piece

MASKS = 64
"""Random masks a probing image is seen under: one bit each of a pattern."""

MOST_IMAGES = 12
"""Probing images at most. A unit that a ReLU silences shows its mask under other images only."""

AT_ONCE = 8
"""Gradients computed together."""

SIGMAS = 6.0
"""How far the number of dropped entries may be from what the rate lets expect, in standard deviations."""

Place = tuple[str, str]
"""A parameter and what of it is looked at: ``row``, ``column`` or ``entry``."""


@dataclass(frozen=True)
class Sight:
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


class Zeros(NamedTuple):
    """What gradients show of the masks of one site with E entries.

    Attributes:
        alive: (V, E) bool, whether the places that tell an entry have anything that is not zero: some image kept
            it.
        told: (E,) bool, the entries that are told at all; the others of ``alive`` mean nothing.
        certain: (E,) bool, those whose zeros mean that all images dropped the entry (see :class:`Sight`).
    """

    alive: Tensor
    told: Tensor
    certain: Tensor


@dataclass(frozen=True)
class Readout:
    """What of a model's masks its gradients tell.

    Attributes:
        sights: Where to look.
    """

    sights: tuple[Sight, ...]

    @classmethod
    def of(cls, model: Engine, shape: tuple[int, int, int], classes: int) -> "Readout":
        """Probe a model.

        Args:
            model: The engine; one whose gradients are not those of a single step tells nothing.
            shape: (C, H, W) of an image.
            classes: Labels of the probes are below this.
        """
        if not isinstance(
            model, FoldedModel
        ):  # after several local steps a zero tells of all their masks at once
            return cls(())
        found: dict[tuple[int, Place], NDArray[np.int64]] = {}  # rows (index, entry, images that showed it)
        unchanged = 0
        for image in range(MOST_IMAGES):
            before = sum(map(len, found.values()))
            for key, pairs in _pairs(model, shape, classes, image).items():
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
            sights.append(Sight(place, index, site, entry, bool((count == seen).all())))
        return cls(tuple(sights))

    def zeros(self, problem: Problem) -> list[Zeros]:
        """What the received gradients show of every site, on the CPU."""
        victims, entries = len(problem), [site.entries for site in problem.model.sites]
        kept = [torch.zeros(victims, n, dtype=torch.bool) for n in entries]
        told, certain, frozen = ([torch.zeros(n, dtype=torch.bool) for n in entries] for _ in range(3))
        for sight in self.sights:
            name, kind = sight.place
            told[sight.site][sight.entry] = True
            certain[sight.site][sight.entry] |= sight.certain
            if name not in problem.received.pieces:  # not sent: what it would have shown is not known
                frozen[sight.site][sight.entry] = True
                continue
            for victim in range(victims):
                alive = _alive(problem.gradient(victim, name)[None], kind)[0]
                kept[sight.site][victim, sight.entry] |= alive.cpu()[sight.index]
        return [
            Zeros(alive, shown & ~missing, sure & ~missing)
            for alive, shown, sure, missing in zip(kept, told, certain, frozen, strict=True)
        ]

    def read(self, problem: Problem) -> list[Tensor]:
        """Masks (V, N, *site.shape), on the CPU, as far as the received gradients tell them, NaN elsewhere.

        A site says nothing for a victim whose number of dropped entries its rate makes impossible: noise has
        no zeros, pruning too many.
        """
        victims, images = problem.labels.shape
        masks = []
        for site, (alive, told, certain) in zip(problem.model.sites, self.zeros(problem), strict=True):
            believed = _plausible(alive[:, told], site.rate**images, at_most=bool(certain[told].all()))
            values = torch.where(alive, 1.0 if images == 1 else torch.nan, 0.0).to(problem.dtype)
            values = values.masked_fill(~(told & believed[:, None]), torch.nan)
            masks.append(values[:, None].expand(-1, images, -1).reshape(victims, images, *site.shape).clone())
        return masks


def _plausible(alive: Tensor, rate: float, at_most: bool) -> Tensor:
    """(V,) whether so many of (V, K) independent entries are dropped at ``rate``.

    Args:
        alive: Entries that are not zero.
        rate: Their probability of being dropped.
        at_most: Whether there can be too many zeros; silent units make more of them.
    """
    dropped, count = (~alive).sum(1), alive.shape[1]
    expected, room = count * rate, SIGMAS * (count * rate * (1 - rate)) ** 0.5 + 3
    enough = (dropped >= expected - room) & ((dropped > 0) | ((1 - rate) ** count > 0.01))
    return enough & (dropped <= expected + room) if at_most else enough


def _pairs(
    model: Engine, shape: tuple[int, int, int], classes: int, image: int
) -> dict[tuple[int, Place], NDArray[np.int64]]:
    """Per (site, place) the (index, entry) pairs that one probing image shows."""
    rng = torch.Generator().manual_seed(image)
    x = torch.randn(1, 1, *shape, generator=rng, dtype=torch.float64).to(next(model.model.parameters()))
    label = torch.randint(classes, (1, 1), generator=rng).to(x.device)
    patterns: dict[Place, list[NDArray[np.bool_]]] = {}
    drawn: list[list[NDArray[np.bool_]]] = [[] for _ in model.sites]
    for _ in range(MASKS // AT_ONCE):
        masks = [torch.rand(AT_ONCE, 1, *site.shape, generator=rng) < 0.5 for site in model.sites]
        pieces = model.gradients(
            x.expand(AT_ONCE, -1, -1, -1, -1),
            [mask.to(x) for mask in masks],
            label.expand(AT_ONCE, -1),
            differentiable=False,
        )
        for place, alive in _places(model.model, pieces).items():
            patterns.setdefault(place, []).append(alive.cpu().numpy())
        for site, mask in zip(drawn, masks, strict=True):
            site.append(mask.flatten(1).numpy())
    keys = {place: _key(np.concatenate(parts)) for place, parts in patterns.items()}
    pairs = {}
    for number, parts in enumerate(drawn):
        wanted = _key(np.concatenate(parts))
        order = np.argsort(wanted)
        ranked = wanted[order]
        for place, present in keys.items():
            at = np.searchsorted(ranked, present).clip(max=len(ranked) - 1)
            index = np.nonzero(ranked[at] == present)[0]
            if len(index):
                pairs[number, place] = np.column_stack([index, order[at[index]]])
    return pairs


def _key(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(64, K) patterns as K numbers."""
    packed = np.packbits(bits, axis=0, bitorder="little")
    return np.ascontiguousarray(packed.T).view(np.uint64).ravel()


def _places(model: nn.Module, pieces: Mapping[str, Piece]) -> dict[Place, Tensor]:
    """Every place of a gradient: whether it is not zero, (V, K) bool."""
    found = {}
    for name, piece in pieces.items():
        owner = model.get_submodule(name.rpartition(".")[0])
        linear = isinstance(owner, nn.Linear | nn.Conv2d) and name.endswith("weight")
        for kind in ("row", "column") if linear else ("entry",):
            found[name, kind] = _alive(piece.dense(), kind)
    return found


def _alive(gradient: Tensor, kind: str) -> Tensor:
    """(V, K) bool: which rows, columns or entries of a gradient (V, ...) have anything that is not zero."""
    value = gradient != 0
    if kind == "entry":
        return value.flatten(1)
    return value.flatten(2).any(2) if kind == "row" else value.transpose(1, 2).flatten(2).any(2)


def counts(known: Sequence[Tensor], influential: Sequence[Tensor]) -> list[tuple[int, int, int]]:
    """Per site, over all victims: entries known, entries that can influence the gradient, entries.

    Args:
        known: As :meth:`Readout.read` returns.
        influential: Likewise, bool.
    """
    return [
        (int((~k.isnan() & i).sum()), int(i.sum()), k.numel())
        for k, i in zip(known, influential, strict=True)
    ]
