"""Mask entries read in a gradient's zeros.

Which zeros tell which entries is found by :mod:`dia.attacks.mask_readout.zero_patterns`. For one image each of them
tells its entry. For a batch a zero tells that all images dropped the entry, anything else that some image kept it.
Where linear layers end the network (:mod:`dia.attacks.mask_readout.final_layers`), the gradient can be separated into
those of its images (:mod:`dia.attacks.mask_readout.batch_separation`), each of which tells its own entries.

Shapes: V victims, N images per victim, E entries of a site's mask for one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dia.attacks.mask_readout.batch_separation import (
    SeparatedLayer,
    dropped_units,
    kept_units,
    match_labels,
    separate_layers,
)
from dia.attacks.mask_readout.final_layers import find_final_layers
from dia.attacks.mask_readout.zero_patterns import (
    MaskIndicator,
    find_mask_indicators,
    nonzero_slices,
)
from dia.attacks.problem import Problem
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.engine import GradientEngine

SIGMAS = 6.0
"""Largest deviation of the number of dropped entries from its expectation, in standard deviations."""


class GradientZeros(NamedTuple):
    """The entries of one site's masks that gradients show.

    Attributes:
        nonzero: (V, E) bool, whether a slice that indicates the entry is not zero: some image kept it.
        readable: (E,) bool, the entries that are indicated at all; the others of ``nonzero`` mean nothing.
        conclusive: (E,) bool, those whose zeros mean that all images dropped the entry (see :class:`MaskIndicator`).
    """

    nonzero: Tensor
    readable: Tensor
    conclusive: Tensor


class SeparatedMasks(NamedTuple):
    """The masks of one site for each image of a batch that was separated.

    Attributes:
        site: Number of the site.
        entry: (K,) the entries that are indicated.
        values: (N, E) 1 (kept), 0 (dropped) or NaN (undecided, or not indicated), in the order of the labels.
    """

    site: int
    entry: Tensor
    values: Tensor


@dataclass(frozen=True)
class Readout:
    """The masks of a model that its gradients tell.

    Attributes:
        indicators: Where to look.
        layer_names: Weights of the final linear layers, as
            :func:`~dia.attacks.mask_readout.final_layers.find_final_layers` returns them.
        layer_sites: The sites before them.
    """

    indicators: tuple[MaskIndicator, ...]
    layer_names: tuple[str, ...] = ()
    layer_sites: tuple[int, ...] = ()

    @classmethod
    def of(cls, model: GradientEngine) -> "Readout":
        """Probe a model.

        One whose gradients are not those of a single step tells nothing: after local steps a zero is one of all their
        masks at once.
        """
        if not isinstance(model, BatchedGradientEngine):
            return cls(())
        indicators = find_mask_indicators(model)
        return cls(indicators, *find_final_layers(model, indicators))

    def zeros(self, problem: Problem) -> list[GradientZeros]:
        """The entries of every site that the received gradients show, on the CPU."""
        victims, entries = len(problem), [site.entries for site in problem.model.sites]
        nonzero = [torch.zeros(victims, n, dtype=torch.bool) for n in entries]
        readable, conclusive, unsent = ([torch.zeros(n, dtype=torch.bool) for n in entries] for _ in range(3))
        for indicator in self.indicators:
            (name, kind), site, entry = indicator.slices, indicator.site, indicator.entry
            readable[site][entry] = True
            conclusive[site][entry] |= indicator.conclusive
            if name not in problem.received.pieces:  # nobody knows what it would have shown
                unsent[site][entry] = True
                continue
            for victim in range(victims):
                shown = nonzero_slices(problem.gradient(victim, name)[None], kind)[0].cpu()
                nonzero[site][victim, entry] |= shown[indicator.index]
        return [
            GradientZeros(some_kept, told & ~missing, sure & ~missing)
            for some_kept, told, sure, missing in zip(nonzero, readable, conclusive, unsent, strict=True)
        ]

    def read(self, problem: Problem) -> list[Tensor]:
        """Masks (V, N, *site.shape), on the CPU, as far as the received gradients tell them, NaN elsewhere.

        A site tells nothing for a victim whose number of dropped entries is impossible at its rate: noise leaves no
        zeros, pruning too many. Images with the same label may be in any order.
        """
        victims, images = problem.labels.shape
        masks = [
            _read_site(zeros, site.rate, images, problem.dtype)
            for site, zeros in zip(problem.model.sites, self.zeros(problem), strict=True)
        ]
        for victim in range(victims if images > 1 else 0):
            for site, entry, values in self._separate(problem, victim):
                masks[site][victim][:, entry] = values[:, entry]
        return [
            mask.view(victims, images, *site.shape)
            for site, mask in zip(problem.model.sites, masks, strict=True)
        ]

    def _separate(self, problem: Problem, victim: int) -> list[SeparatedMasks]:
        """The masks between the final layers, of a batch that can be separated down to its labels."""
        pieces, images = problem.received.pieces, problem.labels.shape[1]
        if not self.layer_names or any(name not in pieces for name in self.layer_names):
            return []
        # A convolution with one output position is a linear layer on what it sees.
        gradients = [problem.gradient(victim, name).flatten(1).double().cpu() for name in self.layer_names]
        rates = [problem.model.sites[site].rate for site in self.layer_sites]
        layers = separate_layers(gradients, images, rates)
        if len(layers) < len(self.layer_names):
            return []
        image_of_label = match_labels(layers[-1], problem.labels[victim].cpu())
        if image_of_label is None:
            return []
        before: Sequence[SeparatedLayer | None] = layers[:-1] or [None]
        indicators = {i.site: i for i in self.indicators if i.slices in self._layer_columns()}
        separated = []
        for site, above, layer in zip(self.layer_sites, before, layers[-len(before) :], strict=True):
            columns = indicators[site].index
            dropped = dropped_units(above, layer)[columns][:, image_of_label].T  # (N, K)
            kept = kept_units(above, layer)[columns][:, image_of_label].T
            entries = problem.model.sites[site].entries
            values = _combine_columns(dropped, kept, indicators[site].entry, entries)
            separated.append(SeparatedMasks(site, indicators[site].entry, values.to(problem.dtype)))
        return separated

    def _layer_columns(self) -> set[tuple[str, str]]:
        return {(name, "column") for name in self.layer_names}


def _read_site(zeros: GradientZeros, rate: float, images: int, dtype: torch.dtype) -> Tensor:
    """Masks (V, N, E) that one site's zeros tell without separating the images, NaN elsewhere."""
    nonzero, readable, conclusive = zeros
    at_most = bool(conclusive[readable].all())
    plausible = _is_plausible(nonzero[:, readable], rate**images, at_most)
    values = torch.where(nonzero, 1.0 if images == 1 else torch.nan, 0.0).to(dtype)
    values = values.masked_fill(~(readable & plausible[:, None]), torch.nan)
    return values[:, None].repeat(1, images, 1)


def _combine_columns(dropped: Tensor, kept: Tensor, entry: Tensor, entries: int) -> Tensor:
    """Mask values (N, entries) from columns (N, K), several of which may belong to one entry.

    A channel's entry shows in the column of each of its pixels: it was kept if any of them was, dropped if all were.
    """
    undecided = 0.5
    states = torch.where(kept, 1.0, torch.where(dropped, 0.0, undecided))
    values = states.new_full((len(states), entries), torch.nan)
    values.scatter_reduce_(1, entry.expand_as(states), states, "amax", include_self=False)
    return values.masked_fill(values == undecided, torch.nan)


def _is_plausible(nonzero: Tensor, rate: float, at_most: bool) -> Tensor:
    """(V,) whether so many of (V, K) independent entries are dropped at ``rate``.

    Args:
        nonzero: Entries that are not zero.
        rate: Their probability of being dropped.
        at_most: Whether there can be too many zeros; silent units make more of them.
    """
    dropped, count = (~nonzero).sum(1), nonzero.shape[1]
    expected, room = count * rate, SIGMAS * (count * rate * (1 - rate)) ** 0.5 + 3
    enough = (dropped >= expected - room) & ((dropped > 0) | ((1 - rate) ** count > 0.01))
    return enough & (dropped <= expected + room) if at_most else enough
