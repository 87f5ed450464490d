"""Mask entries that can be read in a gradient's zeros (where they are, :mod:`dia.attacks.mask_readout.zero_patterns` finds out).

One image: each such place tells its entry. A batch: a zero tells that all images dropped the entry, anything
else that some kept it; and where a chain of linear layers ends the network, the gradient can be taken apart into
those of its images (:mod:`dia.attacks.mask_readout.batch_separation`), each of which tells its own entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dia.attacks.mask_readout import batch_separation
from dia.attacks.mask_readout.zero_patterns import (
    MaskIndicator,
    alive,
    find_linear_chain,
    find_mask_indicators,
)
from dia.attacks.problem import Problem
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.engine import GradientEngine

SIGMAS = 6.0
"""How far the number of dropped entries may be from what the rate lets expect, in standard deviations."""


class GradientZeros(NamedTuple):
    """What gradients show of the masks of one site with E entries.

    Attributes:
        alive: (V, E) bool, whether the places that tell an entry have anything that is not zero: some image kept
            it.
        told: (E,) bool, the entries that are told at all; the others of ``alive`` mean nothing.
        certain: (E,) bool, those whose zeros mean that all images dropped the entry (see :class:`MaskIndicator`).
    """

    alive: Tensor
    told: Tensor
    certain: Tensor


@dataclass(frozen=True)
class Readout:
    """What of a model's masks its gradients tell.

    Attributes:
        sights: Where to look.
        chain: Weights of the last linear layers, as :func:`~dia.attacks.mask_readout.zero_patterns.find_linear_chain` finds them.
        between: The sites before them.
    """

    sights: tuple[MaskIndicator, ...]
    chain: tuple[str, ...] = ()
    between: tuple[int, ...] = ()

    @classmethod
    def of(cls, model: GradientEngine, shape: tuple[int, int, int], classes: int) -> "Readout":
        """Probe a model.

        Args:
            model: The engine; one whose gradients are not those of a single step tells nothing.
            shape: (C, H, W) of an image.
            classes: Labels of the probes are below this.
        """
        if not isinstance(
            model, BatchedGradientEngine
        ):  # after local steps a zero tells of all their masks at once
            return cls(())
        like = next(model.model.parameters()).new_zeros(shape)
        sights = find_mask_indicators(model, like, classes)
        return cls(sights, *find_linear_chain(model, sights, like, classes))

    def zeros(self, problem: Problem) -> list[GradientZeros]:
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
                shown = alive(problem.gradient(victim, name)[None], kind)[0].cpu()
                kept[sight.site][victim, sight.entry] |= shown[sight.index]
        return [
            GradientZeros(any_kept, shows & ~missing, sure & ~missing)
            for any_kept, shows, sure, missing in zip(kept, told, certain, frozen, strict=True)
        ]

    def read(self, problem: Problem) -> list[Tensor]:
        """Masks (V, N, *site.shape), on the CPU, as far as the received gradients tell them, NaN elsewhere.

        A site says nothing for a victim whose number of dropped entries its rate makes impossible: noise has
        no zeros, pruning too many. Images with the same label may be in any order.
        """
        victims, images = problem.labels.shape
        masks = []
        for site, (shown, told, certain) in zip(problem.model.sites, self.zeros(problem), strict=True):
            believed = _plausible(shown[:, told], site.rate**images, at_most=bool(certain[told].all()))
            values = torch.where(shown, 1.0 if images == 1 else torch.nan, 0.0).to(problem.dtype)
            values = values.masked_fill(~(told & believed[:, None]), torch.nan)
            masks.append(values[:, None].expand(-1, images, -1).reshape(victims, images, *site.shape).clone())
        if images > 1:
            for victim in range(victims):
                for place, entry, values in self._unmixed(problem, victim):
                    masks[place][victim].view(images, -1)[:, entry] = values
        return masks

    def _unmixed(self, problem: Problem, victim: int) -> list[tuple[int, Tensor, Tensor]]:
        """Sites, their entries (K,) and values (N, K) of a batch that can be taken apart down to its labels."""
        pieces, images = problem.received.pieces, problem.labels.shape[1]
        if not self.chain or any(name not in pieces for name in self.chain):
            return []
        # A convolution with one output position is a linear layer on what it sees.
        gradients = [problem.gradient(victim, name).flatten(1).double().cpu() for name in self.chain]
        layers = batch_separation.chain(
            gradients, images, [problem.model.sites[site].rate for site in self.between]
        )
        if len(layers) < len(self.chain):
            return []
        of_images = batch_separation.order(layers[-1], problem.labels[victim].cpu())
        if of_images is None:
            return []
        columns = [(name, "column") for name in self.chain]
        places = {sight.site: sight for sight in self.sights if sight.place in columns}
        found = []
        for number, place in enumerate(self.between):
            before, layer = (None, layers[0]) if len(layers) == 1 else layers[number : number + 2]
            sight = places[place]
            dropped, kept = (
                side[sight.index][:, of_images].T for side in batch_separation.kept(before, layer)
            )  # (N, K)
            entries, which = sight.entry.unique(return_inverse=True)  # a channel's entry shows at each pixel
            none = kept.new_zeros(images, len(entries), dtype=torch.int64)
            some_kept = none.index_add(1, which, kept.long()) > 0
            all_dropped = none.index_add(1, which, (~dropped).long()) == 0
            values = torch.where(some_kept, 1.0, torch.where(all_dropped, 0.0, torch.nan))
            found.append((place, entries, values.to(problem.dtype)))
        return found


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
