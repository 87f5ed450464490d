"""Traces of dropout in a gradient.

A dropped unit often leaves an exact zero somewhere: in the row or column of a weight gradient, in an element of a
position embedding's or a bias's. Which zeros tell which mask entries depends on the architecture, so the attacker
measures it: gradients of random images under random masks of its own show which slices of the gradient are zero exactly
where an entry was dropped, every time.

Example with 4 masks instead of 64 (1: the entry is kept, the slice is not zero)::

    mask                0 1 2 3    pattern as a number (mask 0 is the lowest bit)
    entry 0 kept        1 0 1 1    0b1101
    entry 1 kept        0 1 1 0    0b0110
    row 0 not zero      0 1 1 0    0b0110  = entry 1: row 0 indicates entry 1
    row 1 not zero      1 1 1 1    0b1111  of no entry: row 1 indicates nothing
    row 2 not zero      1 0 1 1    0b1101  = entry 0: row 2 indicates entry 0

The result is ``index = [0, 2]``, ``entry = [1, 0]``. A pattern of 64 masks is one uint64, so that all slices are
compared with all entries by a binary search; two patterns coincide by chance with probability 2^-64. If a ReLU silences
the unit of entry 0 under another image, row 2 is zero under all masks there: the pair is then found under some images
only, and a zero of row 2 is not conclusive.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.factored import ParameterGradient
from dia.gradients.probe import probe_batch

MASKS = 64
"""Random masks that a probing image is seen under: one bit each of a pattern."""

MAX_PROBING_IMAGES = 12
"""A unit that a ReLU silences under one image shows its mask under another."""

CHUNK = 8
"""Gradients computed together."""

SliceKind = Literal["row", "column", "entry"]


class GradientSlices(NamedTuple):
    """Slices of one parameter's gradient that are tested for being zero.

    Attributes:
        parameter: The parameter's name.
        kind: ``row`` (of one output), ``column`` (of one input) or ``entry`` (single numbers, flattened).
    """

    parameter: str
    kind: SliceKind


@dataclass(frozen=True)
class MaskIndicator:
    """Slices of one parameter's gradient that indicate entries of one site's masks.

    Attributes:
        slices: Which parameter, and how it is sliced.
        index: (K,) numbers of the rows, columns or entries.
        site: Number of the dropout site.
        entry: (K,) the entry of its flattened mask that each slice indicates.
        conclusive: Whether a zero always meant dropped; otherwise it may also be a silent unit (as behind a ReLU),
            whose mask entry cannot influence the gradient.
    """

    slices: GradientSlices
    index: Tensor
    site: int
    entry: Tensor
    conclusive: bool


_Pairs = dict[tuple[int, GradientSlices], NDArray[np.int64]]
"""Per (site, slices): rows of (index, entry)."""


def find_mask_indicators(model: BatchedGradientEngine) -> tuple[MaskIndicator, ...]:
    """Probe a model with random images until another image shows nothing new."""
    sightings: dict[tuple[int, GradientSlices], list[NDArray[np.int64]]] = {}
    known = 0
    for image in range(MAX_PROBING_IMAGES):
        for key, pairs in _matching_pairs(model, image).items():
            sightings.setdefault(key, []).append(pairs)
        distinct = {
            key: np.unique(np.concatenate(pairs), axis=0, return_counts=True)
            for key, pairs in sightings.items()
        }
        before, known = known, sum(len(pairs) for pairs, _ in distinct.values())
        if known == before:
            break
    indicators = []
    for (site, slices), (pairs, count) in sorted(distinct.items(), key=lambda item: item[0]):
        index, entry = torch.from_numpy(pairs).unbind(1)
        conclusive = bool((count == image + 1).all())
        indicators.append(MaskIndicator(slices, index, site, entry, conclusive))
    return tuple(indicators)


def _matching_pairs(model: BatchedGradientEngine, image: int) -> _Pairs:
    """The slices and mask entries whose patterns agree under one probing image."""
    x, _, label = probe_batch(model, victims=1, images=1, seed=image)
    rng = torch.Generator().manual_seed(image)
    slice_bits: dict[GradientSlices, list[NDArray[np.bool_]]] = {}
    mask_bits: list[list[NDArray[np.bool_]]] = [[] for _ in model.sites]
    for _ in range(MASKS // CHUNK):
        masks = [torch.rand(CHUNK, 1, *site.shape, generator=rng) < 0.5 for site in model.sites]
        gradient = model.gradients(
            x.expand(CHUNK, -1, -1, -1, -1),
            [mask.to(x) for mask in masks],
            label.expand(CHUNK, -1),
            differentiable=False,
        )
        for slices, nonzero in _all_slices(model.model, gradient).items():
            slice_bits.setdefault(slices, []).append(nonzero.cpu().numpy())
        for bits, mask in zip(mask_bits, masks, strict=True):
            bits.append(mask.flatten(1).numpy())
    patterns = {slices: pack_patterns(np.concatenate(bits)) for slices, bits in slice_bits.items()}
    pairs = {}
    for site, bits in enumerate(mask_bits):
        wanted = pack_patterns(np.concatenate(bits))
        for slices, present in patterns.items():
            if len(matches := match_patterns(present, wanted)):
                pairs[site, slices] = matches
    return pairs


def pack_patterns(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(64, K) bits as K numbers, the first bit the lowest."""
    packed = np.packbits(bits, axis=0, bitorder="little")
    return np.ascontiguousarray(packed.T).view(np.uint64).ravel()


def match_patterns(slices: NDArray[np.uint64], entries: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Rows of (slice, entry) whose patterns are equal; at most one entry per slice."""
    order = np.argsort(entries)
    ranked = entries[order]
    position = np.searchsorted(ranked, slices).clip(max=len(ranked) - 1)
    index = np.nonzero(ranked[position] == slices)[0]
    return np.column_stack([index, order[position[index]]])


def _all_slices(model: nn.Module, gradient: Mapping[str, ParameterGradient]) -> dict[GradientSlices, Tensor]:
    """(V, K) bool for all slices of a gradient: which are not zero."""
    found = {}
    for name, piece in gradient.items():
        owner = model.get_submodule(name.rpartition(".")[0])
        has_rows = isinstance(owner, nn.Linear | nn.Conv2d) and name.endswith("weight")
        kinds: tuple[SliceKind, ...] = ("row", "column") if has_rows else ("entry",)
        value = piece.dense()
        for kind in kinds:
            found[GradientSlices(name, kind)] = nonzero_slices(value, kind)
    return found


def nonzero_slices(gradient: Tensor, kind: SliceKind) -> Tensor:
    """(V, K) bool: which rows, columns or entries of a gradient (V, *parameter.shape) are not all zero."""
    nonzero = gradient != 0
    if kind == "entry":
        return nonzero.flatten(1)
    return nonzero.flatten(2).any(2) if kind == "row" else nonzero.transpose(1, 2).flatten(2).any(2)
