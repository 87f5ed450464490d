"""Inverting Gradients (Geiping et al. 2020): gradient matching that ignores the client's dropout."""

from dia.attacks.optimisation.attack import GradientMatchingAttack
from dia.attacks.problem import Problem


def build(problem: Problem, victims_per_chunk: int | None = None) -> GradientMatchingAttack:
    """Dropout off, as in eval mode: the baseline that dropout defeats."""
    return GradientMatchingAttack(problem, victims_per_chunk)
