"""Well-informed Inverting Gradients (Scheliga et al. 2022): the attacker knows the client's masks."""

from dia.attacks.optimisation.attack import GradientMatchingAttack
from dia.attacks.problem import Problem


def build(problem: Problem, victims_per_chunk: int | None = None) -> GradientMatchingAttack:
    """The client's true masks throughout: the upper bound that DIA would reach with perfect masks."""
    return GradientMatchingAttack(problem, victims_per_chunk, fixed_masks=list(problem.client_masks))
