"""The Dropout Inversion Attack (Scheliga, Maeder, Seeland 2022): optimise image and dropout masks together."""

from dia.attacks import ig
from dia.attacks.optimisation.search import Search
from dia.attacks.problem import Problem


def prepare(problem: Problem, **how: object) -> Search:
    """Masks start as the setting ``mask_init`` says; without dropout there are none, and the attack is ``ig``."""
    if not problem.model.sites:
        return ig.prepare(problem, **how)
    return Search(problem, seeks_masks=True, **how)  # type: ignore[arg-type]
