"""DIA that knows what there is to know: mask entries that the gradient tells are read off, the others optimised."""

from collections.abc import Callable

from dia.attacks import dia, ig
from dia.attacks.mask_readout.readout import Readout
from dia.attacks.optimisation.search import Search
from dia.attacks.problem import Problem
from dia.gradients.local_sgd import LocalSGDEngine


def prepare(
    problem: Problem, announce: Callable[[str], None] = lambda message: None, **how: object
) -> Search:
    """``dia`` with the entries of :mod:`dia.attacks.mask_readout.readout` fixed; without dropout ``ig``."""
    if not problem.model.sites:
        return ig.prepare(problem, announce=announce, **how)
    if isinstance(problem.model, LocalSGDEngine):
        announce(
            "masks: none read off, since a sum over local steps has no zeros of one mask; all are sought"
        )
        return dia.prepare(problem, announce=announce, **how)
    readout = Readout.of(problem.model)
    known = readout.read(problem)
    told = sum(int((~mask.isnan()).sum()) for mask in known)
    announce(f"masks: {told} of {sum(mask.numel() for mask in known)} entries read off the gradients")
    return Search(problem, fixed_masks=known, seeks_masks=True, announce=announce, **how)  # type: ignore[arg-type]
