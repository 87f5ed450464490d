"""Well-informed Inverting Gradients (Scheliga et al. 2022): the attacker knows the client's masks."""

from dia.attacks.optimisation.search import Search
from dia.attacks.problem import Problem


def prepare(problem: Problem, **how: object) -> Search:
    """The client's true masks throughout: what DIA would reach with perfect masks."""
    return Search(problem, fixed_masks=list(problem.client_masks), **how)  # type: ignore[arg-type]
