"""The Dropout Inversion Attack (Scheliga, Maeder, Seeland 2022): optimise image and dropout masks together."""

from dia.attacks.optimisation.attack import GradientMatchingAttack
from dia.attacks.problem import Problem


def build(problem: Problem, victims_per_chunk: int | None = None) -> GradientMatchingAttack:
    """Masks start as the setting ``mask_init`` says; without dropout there are none, and the attack is ``ig``."""
    return GradientMatchingAttack(problem, victims_per_chunk, optimises_masks=bool(problem.model.sites))
