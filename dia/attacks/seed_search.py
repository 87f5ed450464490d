"""Guessing the client's seed: one match reveals every mask.

Whoever seeds dropout from a small space (``manual_seed(round)``, the time in seconds, the client's number)
draws masks that the server can draw as well. The zeros of the gradient tell which of the candidate seeds was
the client's, image unknown; the attack is then the well-informed one. Without a match, and without zeros to
test, it is ``ig``.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dia.attacks import ig
from dia.attacks.mask_readout.readout import GradientZeros, Readout
from dia.attacks.optimisation.search import Search
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem
from dia.federated.client import client_generator, draw_bernoulli_masks

NOT_FOUND = "seed_not_found"
"""Start of the stop reason of a victim whose seed was not among the candidates."""

MARGIN = 7
"""Bits by which what the zeros tell must exceed what tells the candidates apart: a false match has odds below 1%."""


class SeedSearch(Search):
    """The well-informed attack with the masks of the seeds found.

    Args:
        problem: The victims as the server sees them.
        seeds: Every victim's seed, or None.
        how: As for :class:`~dia.attacks.optimisation.search.Search`.
    """

    def __init__(self, problem: Problem, seeds: list[int | None], **how: object) -> None:
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
        super().__init__(problem, fixed_masks=masks, **how)  # type: ignore[arg-type]

    def run(self) -> Outcome:
        """Go on until every victim has stopped; the stop reasons say whose seed was not found."""
        outcome = super().run()
        outcome.stop_reason = [
            reason if seed is not None else f"{NOT_FOUND}: {reason}"
            for seed, reason in zip(self.seeds, outcome.stop_reason, strict=True)
        ]
        found = sum(seed is not None for seed in self.seeds)
        outcome.notes.append(
            f"seeds of {found} of {len(self.seeds)} clients found among {self.settings.seed_candidates}"
        )
        return outcome


def prepare(
    problem: Problem, announce: Callable[[str], None] = lambda message: None, **how: object
) -> Search:
    """Try every candidate seed on every victim; without dropout there is nothing to find, and the attack is ``ig``."""
    if not problem.model.sites:
        return ig.prepare(problem, announce=announce, **how)
    zeros = Readout.of(problem.model).zeros(problem)
    seeds = find_seeds(problem, zeros)
    if None in seeds:
        announce(f"no candidate seed fits {seeds.count(None)} of {len(seeds)} clients: attacking those as ig")
    return SeedSearch(problem, seeds, announce=announce, **how)


def find_seeds(problem: Problem, zeros: list[GradientZeros]) -> list[int | None]:
    """Every victim's seed among the candidates of the settings; None where not exactly one fits, or too few zeros.

    Candidates draw masks only up to the site where enough is told to decide.
    """
    images, candidates = problem.labels.shape[1], problem.settings.seed_candidates
    found: list[int | None] = [None] * len(problem)
    sites = problem.model.sites
    told = torch.stack([_bits(z, site.rate**images) for z, site in zip(zeros, sites, strict=True)]).cumsum(0)
    enough = told >= MARGIN + math.log2(candidates)
    waiting = set(enough[-1].nonzero().flatten().tolist())
    if not waiting:
        return found
    last = int((~enough).sum(0)[enough[-1]].max()) + 1
    sites, shown = sites[:last], zeros[:last]
    matches: dict[int, list[int]] = {victim: [] for victim in waiting}
    for candidate in range(candidates):
        masks = draw_bernoulli_masks([client_generator(candidate)], sites, images)
        fits = torch.stack([_fits(m[0], zero) for m, zero in zip(masks, shown, strict=True)]).all(0)
        for victim in waiting & set(fits.nonzero().flatten().tolist()):
            matches[victim].append(candidate)
    for victim, seeds in matches.items():
        if len(seeds) == 1:
            found[victim] = seeds[0]
    return found


def _bits(zeros: GradientZeros, rate: float) -> Tensor:
    """(V,) how improbable it is, in bits, that masks which drop an entry at ``rate`` leave just these zeros."""
    kept = (zeros.nonzero & zeros.readable).sum(1)
    dropped = (~zeros.nonzero & zeros.conclusive).sum(1)
    return -kept * math.log2(1 - rate) - dropped * math.log2(rate)


def _fits(mask: Tensor, zeros: GradientZeros) -> Tensor:
    """(V,) whether a candidate's masks (N, *site.shape) leave exactly the zeros that the victims' gradients have."""
    kept = mask.flatten(1).any(0)
    contradicted = (zeros.nonzero & ~kept & zeros.readable) | (~zeros.nonzero & kept & zeros.conclusive)
    return ~contradicted.any(1)
