"""Gradients of all victims from one forward and backward pass over one folded batch.

V victims of N images form a batch of V*N. The loss is summed over victims and averaged over each victim's images,
so the gradient at a layer's output is every victim's own delta; :mod:`dia.gradients.layer_rules` turns inputs and
deltas into parameter gradients. The engine does not assume that it handles a model correctly; it checks:
:class:`BatchedGradientEngine` compares its gradients with plain autograd on a random probe, and computes the parameters
that disagree one victim at a time.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from operator import attrgetter
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dia.gradients import per_victim
from dia.gradients.factored import DenseGradient, FactoredGradient, ParameterGradient, concatenate_calls
from dia.gradients.forward_overrides import forward_overrides
from dia.gradients.layer_rules import RULES, per_image_leaf, sum_gradients
from dia.gradients.probe import Probe, probe_batch, probe_on
from dia.gradients.probe_checks import depends_on_data, mismatching_parameters, mixes_victims
from dia.models.buffer_guard import BufferGuard
from dia.models.dropout import Site, dropout_sites, use_masks
from dia.models.parameters import reference_parameter, trainable_parameters
from dia.utils.devices import full_precision_products


class Call(NamedTuple):
    """One call of a layer in a forward pass.

    ``saved_input`` is what the layer's rule needs of it; ``version`` counts the in-place changes of ``output`` by then.
    """

    layer: str
    saved_input: Tensor
    output: Tensor
    version: int


class BatchedGradientEngine:
    """A client's model that yields every victim's gradient at once.

    Args:
        model: In train mode, its dropout replayable. Clients send the gradient of those of its parameters that require
            one. All are frozen then (``requires_grad`` off), its buffers are guarded
            (:class:`~dia.models.buffer_guard.BufferGuard`) and in-place activations are made out of place, which
            changes no number.
        shape: (C, H, W) of one image.
        num_classes: Number of outputs.
        batch_size: Images N of a victim.

    Attributes:
        sites: The model's dropout sites, in module order.
        per_victim_parameters: Names of parameters whose gradient needs the per-victim path.
    """

    def __init__(
        self, model: nn.Module, shape: tuple[int, int, int], num_classes: int, batch_size: int
    ) -> None:
        self.parameters = trainable_parameters(model)
        self.model = model.requires_grad_(False)
        self.buffers = BufferGuard(model)
        self.shape, self.num_classes = shape, num_classes
        for module in model.modules():
            if getattr(module, "inplace", False):
                module.inplace = False  # type: ignore[assignment]
        images = torch.zeros(batch_size, *shape).to(reference_parameter(model))
        self.sites: list[Site] = dropout_sites(model, images)
        self.buffers.release_if_unchanged()
        self._layers = {
            name: module
            for name, module in model.named_modules()
            if type(module) in RULES and not self._is_frozen(name, module)
        }
        self._overrides = forward_overrides(model)
        self._covered_by_rules = {
            f"{name}.{parameter}".lstrip(".")
            for name, module in self._layers.items()
            for parameter, _ in module.named_parameters(recurse=False)
        }
        self._broadcast_parameters = [
            n for n, p in self.parameters.items() if n not in self._covered_by_rules and p.shape[:1] == (1,)
        ]
        self.per_victim_parameters = [
            name
            for name in self.parameters
            if name not in self._covered_by_rules and name not in self._broadcast_parameters
        ]
        self._cloned: set[str] = set()
        self._rows: dict[str, list[Fraction]] | None = None
        self._verify(probe_batch(self, victims=3, images=batch_size))

    @property
    def dtype(self) -> torch.dtype:
        return reference_parameter(self.model).dtype

    @property
    def device(self) -> torch.device:
        return reference_parameter(self.model).device

    def gradients(
        self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor, *, differentiable: bool
    ) -> dict[str, ParameterGradient]:
        """Every victim's gradient of the mean cross-entropy over its N images.

        Args:
            x: (V, N, C, H, W), normalised.
            masks: Per site (V, N, *site.shape); None switches dropout off.
            labels: (V, N) class indices.
            differentiable: Whether the result is to be differentiated with respect to ``x`` and ``masks``.

        Returns:
            One gradient per parameter, in ``named_parameters`` order; parameters that take no part are absent.
        """
        found: dict[str, list[ParameterGradient]] = defaultdict(list)
        try:
            if len(self.per_victim_parameters) < len(self.parameters):
                for name, piece in self._gradients_by_rule(x, masks, labels, differentiable):
                    found[name].append(piece)
        except _NotAsProbed:
            self._give_up_folding()
            found.clear()
        if self.per_victim_parameters:
            values = per_victim.gradients(
                self.model, self.sites, self.per_victim_parameters, x, masks, labels
            )
            found.update({name: [DenseGradient(value)] for name, value in values.items()})
        combined: dict[str, ParameterGradient] = {}
        for name in self.parameters:
            pieces = found.get(name, [])
            if pieces and all(isinstance(piece, FactoredGradient) for piece in pieces):
                combined[name] = concatenate_calls(pieces)  # type: ignore[arg-type]
            elif pieces:
                combined[name] = pieces[0] if len(pieces) == 1 else sum_gradients(pieces)
        return combined if differentiable else {name: piece.detach() for name, piece in combined.items()}

    def losses(self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor) -> Tensor:
        """Every victim's mean cross-entropy (V,), arguments as for :meth:`gradients`."""
        folded = None if masks is None else [mask.flatten(0, 1) for mask in masks]
        with use_masks(self.sites, folded):
            logits = self.model(x.flatten(0, 1))
        return F.cross_entropy(logits, labels.flatten(), reduction="none").view(labels.shape).mean(1)

    def _gradients_by_rule(
        self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor, differentiable: bool
    ) -> Iterator[tuple[str, ParameterGradient]]:
        victims, batch_size = x.shape[:2]
        images = x.flatten(0, 1)
        if not images.requires_grad:
            images = images.detach().requires_grad_()
        folded = None if masks is None else [mask.flatten(0, 1) for mask in masks]
        leaves = {
            n: per_image_leaf(attrgetter(n)(self.model), len(images)) for n in self._broadcast_parameters
        }
        with torch.enable_grad(), self._recording() as calls, use_masks(self.sites, folded):
            logits = functional_call(self.model, leaves, (images,)) if leaves else self.model(images)
            self._see_that_calls_are_as_probed(calls, len(images))
            loss = F.cross_entropy(logits, labels.flatten(), reduction="sum") / batch_size
            calls = [call for call in calls if call.output.requires_grad]  # not those on constants
            ends = [call.output for call in calls] + list(leaves.values())
            deltas = torch.autograd.grad(loss, ends, create_graph=differentiable, allow_unused=True)
            for call, delta in zip(calls, deltas, strict=False):
                if delta is not None:
                    module = self._layers[call.layer]
                    pieces = RULES[type(module)].gradients(module, call.saved_input, delta, victims)
                    for parameter, piece in pieces.items():
                        yield f"{call.layer}.{parameter}".lstrip("."), piece
            for name, delta in zip(leaves, deltas[len(calls) :], strict=True):
                if delta is not None:
                    yield name, DenseGradient(delta.unflatten(0, (victims, batch_size)).sum(1, keepdim=True))

    @contextmanager
    def _recording(self) -> Iterator[list[Call]]:
        """Inside the block layers compute by their rules, recording every call; modules with an override use that."""
        calls: list[Call] = []

        def recording(name: str, module: nn.Module) -> Callable[[Tensor], Tensor]:
            rule = RULES[type(module)]

            def forward(input: Tensor) -> Tensor:  # torch's name: layers may be called by keyword
                output, saved_input = rule.forward(module, input)
                calls.append(Call(name, saved_input, output, output._version))
                # A later in-place operation (``out += identity``) must not touch the recorded output.
                return output.clone() if name in self._cloned else output

            return forward

        forwards = [(module, recording(name, module)) for name, module in self._layers.items()]
        forwards += self._overrides
        for module, forward in forwards:
            module.forward = forward  # type: ignore[method-assign]
        try:
            yield calls
        finally:
            for module, _ in forwards:
                del module.forward  # the class's own again

    def check(self, x: Tensor, labels: Tensor) -> None:
        """See that the rules hold on these images (V, N, C, H, W) and labels (V, N) too; what fails is given up."""
        self._verify(probe_on(self, x, labels))

    def _is_frozen(self, name: str, module: nn.Module) -> bool:
        """Tell whether a layer has parameters and clients send none of them."""
        own = [f"{name}.{parameter}".lstrip(".") for parameter, _ in module.named_parameters(recurse=False)]
        return bool(own) and not any(parameter in self.parameters for parameter in own)

    def _is_folded(self, layer: str) -> bool:
        """Tell whether a layer's rule yields the gradient of any of its parameters."""
        names = (
            f"{layer}.{name}".lstrip(".") for name, _ in self._layers[layer].named_parameters(recurse=False)
        )
        return any(name in self.parameters and name not in self.per_victim_parameters for name in names)

    def _give_up_folding(self) -> None:
        self.per_victim_parameters, self._broadcast_parameters = list(self.parameters), []

    def _see_that_calls_are_as_probed(self, calls: list[Call], images: int) -> None:
        """Compare the rows of every call, and in-place changes of its output, with those of the probe.

        Raises:
            _NotAsProbed: A layer sees other rows than in the probe: images are routed by their content.
        """
        if self._rows is None:
            return
        calls = [call for call in calls if self._is_folded(call.layer)]
        rows = _rows_per_image(calls, images)
        overwritten = {call.layer for call in calls if call.output._version != call.version}
        if (
            any(self._rows[name][: len(seen)] != seen for name, seen in rows.items())
            or overwritten - self._cloned
        ):
            raise _NotAsProbed

    @full_precision_products()
    def _verify(self, probe: Probe) -> None:
        """Find outputs that are overwritten and parameters whose folded gradient is wrong."""
        x, masks, labels = probe
        if len(self.per_victim_parameters) == len(self.parameters):
            return
        if mixes_victims(self, x, masks) or depends_on_data(self, x, masks):
            self._give_up_folding()
            return
        with (
            torch.no_grad(),
            self._recording() as calls,
            use_masks(self.sites, [m.flatten(0, 1) for m in masks]),
        ):
            self.model(x.flatten(0, 1))
        self._cloned |= {call.layer for call in calls if call.output._version != call.version}
        rows = _rows_per_image(calls, x.shape[0] * x.shape[1])
        self._rows = self._rows or defaultdict(list, rows)
        try:
            folded = self.gradients(x, masks, labels, differentiable=False)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # of torch, or of a check in the model's own code
            # A broadcast parameter used in a way that cannot be expanded, say repeat().
            if not self._broadcast_parameters:
                raise
            self.per_victim_parameters += self._broadcast_parameters
            self._broadcast_parameters = []
            folded = self.gradients(x, masks, labels, differentiable=False)
        self.per_victim_parameters += mismatching_parameters(self, folded, probe)
        if self.per_victim_parameters:
            self._broadcast_parameters = [
                name for name in self._broadcast_parameters if name not in self.per_victim_parameters
            ]


class _NotAsProbed(Exception):
    """A forward pass whose layers are called otherwise than in the probe."""


def _rows_per_image(calls: list[Call], images: int) -> dict[str, list[Fraction]]:
    """Rows of every call's output per image of the batch, by layer."""
    rows: dict[str, list[Fraction]] = defaultdict(list)
    for call in calls:
        rows[call.layer].append(Fraction(len(call.output), images))
    return rows
