"""Guessing the client's seed: one match reveals every mask.

Whoever seeds dropout from a small space (``manual_seed(round)``, the time in seconds, the client's number)
draws masks that the server can draw as well. The zeros of the gradient tell which of the candidate seeds was
the client's, image unknown; the attack is then the well-informed one. Without a match, and without zeros to
test, it is ``ig``.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dia.attacks import ig
from dia.attacks.mask_readout.readout import GradientZeros, Readout
from dia.attacks.optimisation.attack import GradientMatchingAttack
from dia.attacks.optimisation.state import SearchProgress
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem
from dia.attacks.stop_reasons import SEED_NOT_FOUND, is_scored
from dia.federated.client import client_generator, draw_bernoulli_masks
from dia.models.dropout import Site

MARGIN = 20
"""Bits by which what the zeros tell must exceed what tells the candidates apart: the odds that any of them matches by
chance are below one in a million."""


class SeedSearch(GradientMatchingAttack):
    """The well-informed attack with the masks of the seeds found; ``ig`` for victims without one.

    Args:
        problem: The victims as the server sees them.
        victims_per_chunk: How many victims share a batch; None chooses by the memory that one needs.
        seeds: Every victim's seed, or None.
    """

    def __init__(self, problem: Problem, victims_per_chunk: int | None, seeds: list[int | None]) -> None:
        self.seeds = seeds
        images = problem.labels.shape[1]
        sites, dtype = problem.model.sites, problem.dtype
        # Masks at 1 - p make dropout the identity: without a seed the attack is ig.
        masks = [
            torch.full((len(problem), *site.mask_shape(images)), 1 - site.rate, dtype=dtype) for site in sites
        ]
        for victim, seed in enumerate(seeds):
            if seed is not None:
                drawn = draw_bernoulli_masks([client_generator(seed)], sites, images)
                for mask, values in zip(masks, drawn, strict=True):
                    mask[victim] = values[0]
        missing = f"no candidate seed fits {seeds.count(None)} of {len(seeds)} clients: attacking those as ig"
        remarks = (missing,) if None in seeds else ()
        super().__init__(problem, victims_per_chunk, fixed_masks=masks, remarks=remarks)

    def _outcome(self, progress: SearchProgress) -> Outcome:
        """The stop reasons say whose seed was not found."""
        outcome = super()._outcome(progress)
        outcome.stop_reason = [
            reason if seed is not None or not is_scored(reason) else f"{SEED_NOT_FOUND}: {reason}"
            for seed, reason in zip(self.seeds, outcome.stop_reason, strict=True)
        ]
        found = sum(seed is not None for seed in self.seeds)
        outcome.notes.append(
            f"seeds of {found} of {len(self.seeds)} clients found among {self.settings.seed_candidates}"
        )
        return outcome


def build(problem: Problem, victims_per_chunk: int | None = None) -> GradientMatchingAttack:
    """Try every candidate seed on every victim; without dropout there is nothing to find, and the attack is ``ig``."""
    if not problem.model.sites:
        return ig.build(problem, victims_per_chunk)
    zeros = Readout.of(problem.model).zeros(problem)
    return SeedSearch(problem, victims_per_chunk, find_seeds(problem, zeros))


def find_seeds(problem: Problem, zeros: list[GradientZeros]) -> list[int | None]:
    """Every victim's seed among the candidates of the settings; None where not exactly one fits, or too few zeros.

    Candidates draw masks only up to the site where enough is told to decide; the one that is left is held against all.
    """
    images, candidates = problem.labels.shape[1], problem.settings.seed_candidates
    found: list[int | None] = [None] * len(problem)
    sites = problem.model.sites
    told = torch.stack([_bits(z, site.rate**images) for z, site in zip(zeros, sites, strict=True)]).cumsum(0)
    enough = told >= MARGIN + math.log2(candidates)
    decidable = set(enough[-1].nonzero().flatten().tolist())
    if not decidable:
        return found
    last = int((~enough).sum(0)[enough[-1]].max()) + 1
    matches: dict[int, list[int]] = {victim: [] for victim in decidable}
    for candidate in range(candidates):
        fits = _fit_all(candidate, sites[:last], zeros[:last], images)
        for victim in decidable & set(fits.nonzero().flatten().tolist()):
            matches[victim].append(candidate)
    for victim, seeds in matches.items():
        if len(seeds) == 1 and bool(_fit_all(seeds[0], sites, zeros, images)[victim]):
            found[victim] = seeds[0]
    return found


def _bits(zeros: GradientZeros, rate: float) -> Tensor:
    """(V,) how improbable it is, in bits, that masks which drop an entry at ``rate`` leave just these zeros."""
    kept = (zeros.nonzero & zeros.readable).sum(1)
    dropped = (~zeros.nonzero & zeros.conclusive).sum(1)
    return -kept * math.log2(1 - rate) - dropped * math.log2(rate)


def _fit_all(seed: int, sites: Sequence[Site], zeros: Sequence[GradientZeros], images: int) -> Tensor:
    """(V,) bool: the masks that a seed draws for the first of the sites leave the zeros of all of these."""
    masks = draw_bernoulli_masks([client_generator(seed)], sites, images)
    return torch.stack([_fits(mask[0], zero) for mask, zero in zip(masks, zeros, strict=True)]).all(0)


def _fits(mask: Tensor, zeros: GradientZeros) -> Tensor:
    """(V,) whether a candidate's masks (N, *site.shape) leave exactly the zeros that the victims' gradients have."""
    kept = mask.flatten(1).any(0)
    contradicted = (zeros.nonzero & ~kept & zeros.readable) | (~zeros.nonzero & kept & zeros.conclusive)
    return ~contradicted.any(1)
