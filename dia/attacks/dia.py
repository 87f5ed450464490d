"""The Dropout Inversion Attack (Scheliga, Maeder, Seeland 2022): optimise image and dropout masks together."""

from dia.attacks import ig
from dia.attacks.iterative import Search
from dia.attacks.problem import Problem


def prepare(problem: Problem, **how: object) -> Search:
    """Masks start at a Bernoulli(1 - p) draw; without dropout there are none, and the attack is ``ig``."""
    if not problem.initial_masks:
        return ig.prepare(problem, **how)
    return Search(problem, optimised_masks=problem.initial_masks, **how)  # type: ignore[arg-type]
