"""Checks of a model by a probe: may the images of several victims share a pass, and are the rules' gradients right?"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dia.gradients import per_victim
from dia.gradients.engine import GradientEngine
from dia.gradients.factored import ParameterGradient
from dia.gradients.probe import PROBE_TOLERANCE, Probe
from dia.models.dropout import use_masks


def depends_on_data(model: GradientEngine, x: Tensor, masks: Sequence[Tensor]) -> bool:
    """Tell whether the forward pass branches on values or selects by them: another batch may be computed otherwise."""
    with (
        torch.no_grad(),
        use_masks(model.sites, [mask.flatten(0, 1) for mask in masks]),
        _DataDependence() as seen,
    ):
        model.model(x.flatten(0, 1))
    return seen.found


def mixes_victims(model: GradientEngine, x: Tensor, masks: Sequence[Tensor]) -> bool:
    """Tell whether a victim's outputs depend on another's images, however little (BatchNorm in train mode)."""
    images = x.flatten(0, 1).detach().requires_grad_()
    with torch.enable_grad(), use_masks(model.sites, [mask.flatten(0, 1) for mask in masks]):
        outputs = model.model(images)[: x.shape[1]]
    (slope,) = torch.autograd.grad(outputs.square().sum(), images)
    return bool(slope[x.shape[1] :].any())  # exactly zero where there is no path


def mismatching_parameters(
    model: GradientEngine, folded: dict[str, ParameterGradient], probe: Probe
) -> list[str]:
    """Names of the parameters whose gradient of the probe differs from plain autograd, victim by victim.

    Args:
        model: Gives parameters, precision and dropout sites.
        folded: The gradients that are compared; parameters that the engine leaves to the per-victim path are not.
        probe: The batch that they belong to.
    """
    names = list(model.parameters)
    tolerance = PROBE_TOLERANCE.get(probe.x.dtype, 1e-3)
    wrong: set[str] = set()
    for victim, images in enumerate(probe.x):
        own = [mask[victim] for mask in probe.masks]
        plain = per_victim.victim_gradient(model.model, model.sites, names, images, own, probe.labels[victim])
        scale = torch.stack([g.norm() for g in plain.values() if g is not None]).max()
        for name in set(names) - set(model.per_victim_parameters):
            piece = folded.get(name)
            got = None if piece is None else piece.select(torch.tensor([victim])).dense()[0]
            if _relative_error(got, plain[name], scale) > tolerance:
                wrong.add(name)
    return [name for name in names if name in wrong]


class _DataDependence(TorchDispatchMode):
    """Notices operators by which values decide what is computed: ``bool(tensor)``, ``nonzero``, boolean indices."""

    found = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found |= not {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}.isdisjoint(
            func.tags
        )
        return func(*args, **(kwargs or {}))


def _relative_error(got: Tensor | None, expected: Tensor | None, scale: Tensor) -> float:
    """Error of one parameter's gradient; None stands for a parameter that takes no part.

    Args:
        got, expected: The gradients that are compared, in the parameter's shape.
        scale: The largest norm of any parameter's gradient; far below it a gradient is only rounding.
    """
    if got is None and expected is None:
        return 0.0
    if got is None or expected is None:
        present = expected if got is None else got
        assert present is not None
        return float(present.norm() / scale)
    return float((got - expected).norm() / (expected.norm() + 1e-6 * scale))
