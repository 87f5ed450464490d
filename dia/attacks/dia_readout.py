"""DIA with the mask entries that the gradient reveals read off, and the others optimised."""

from dia.attacks import ig
from dia.attacks.mask_readout.readout import Readout
from dia.attacks.optimisation.attack import GradientMatchingAttack
from dia.attacks.problem import Problem
from dia.gradients.local_sgd import LocalSGDEngine


def build(problem: Problem, victims_per_chunk: int | None = None) -> GradientMatchingAttack:
    """``dia`` with the entries of :mod:`dia.attacks.mask_readout.readout` fixed; without dropout ``ig``."""
    if not problem.model.sites:
        return ig.build(problem, victims_per_chunk)
    if isinstance(problem.model, LocalSGDEngine):
        remark = (
            "masks: none read off, since a sum over local steps has no zeros of one mask; all are optimised"
        )
        return GradientMatchingAttack(problem, victims_per_chunk, optimises_masks=True, remarks=(remark,))
    readout = Readout.of(problem.model)
    known = readout.read(problem)
    read, entries = sum(int((~mask.isnan()).sum()) for mask in known), sum(mask.numel() for mask in known)
    remark = f"masks: {read} of {entries} entries read off the gradients"
    return GradientMatchingAttack(
        problem, victims_per_chunk, fixed_masks=known, optimises_masks=True, remarks=(remark,)
    )
