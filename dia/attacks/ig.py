"""Inverting Gradients (Geiping et al. 2020): gradient matching that ignores the client's dropout."""

from dia.attacks.optimisation.search import Search
from dia.attacks.problem import Problem


def prepare(problem: Problem, **how: object) -> Search:
    """Dropout off, as in eval mode: the baseline that dropout defeats."""
    return Search(problem, **how)  # type: ignore[arg-type]
