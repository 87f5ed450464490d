"""FedAvg: what a client sends after several local steps, for all victims at once.

A client takes steps of minibatch SGD from the server's weights and sends the difference ``W_0 - W_S``. The server
knows the learning rate and divides by it: what remains is the sum of the gradients on the way, of a gradient's size.
After the first step every victim has weights of its own, so the folding of :mod:`dia.gradients.batched` does not apply:
weights are stacked, (V, *shape), and the forward pass is mapped over victims (``torch.vmap``); autograd then goes
through all steps. Models that cannot be mapped (in-place updates such as BatchNorm's) run one victim after another.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dia.gradients.factored import DenseGradient, ParameterGradient
from dia.gradients.probe import PROBE_TOLERANCE, Probe, probe_batch, probe_on
from dia.models.buffer_guard import BufferGuard, State
from dia.models.dropout import Site, dropout_sites, use_masks
from dia.models.parameters import reference_parameter, trainable_parameters
from dia.utils.devices import full_precision_products

Weights = dict[str, Tensor]


class LocalSGDEngine:
    """A client's model whose victims each take local steps; what they send is differentiable through all of them.

    Args:
        model: In train mode, its dropout replayable. Clients move those of its parameters that require gradients. All
            are frozen then (``requires_grad`` off), and its buffers are guarded: the steps of a victim change its own.
        shape: (C, H, W) of one image.
        num_classes: Number of outputs.
        steps: The images (numbers in [0, N)) of each step's minibatch, in order; the same for all victims.
        learning_rate: Of the local steps.

    Attributes:
        sites: The model's dropout sites, once a step: each step draws masks of its own, for its own images.
        per_victim_parameters: All parameters where victims cannot be mapped, else empty.
    """

    def __init__(
        self,
        model: nn.Module,
        shape: tuple[int, int, int],
        num_classes: int,
        steps: Sequence[Sequence[int]],
        learning_rate: float,
    ) -> None:
        self.parameters = trainable_parameters(model)
        self.model = model.requires_grad_(False)
        self.buffers = BufferGuard(model)
        self.shape, self.num_classes = shape, num_classes
        self.steps, self.learning_rate = [list(step) for step in steps], learning_rate
        images = torch.zeros(len(self.steps[0]), *shape).to(reference_parameter(model))
        self._places = dropout_sites(model, images)
        self.buffers.release_if_unchanged()
        self.sites: list[Site] = [
            replace(site, images=len(step), step=number)
            for number, step in enumerate(self.steps)
            for site in self._places
        ]
        # On the device: an index from the CPU would make a GPU wait, at every step of every iteration.
        self._chosen = [torch.tensor(step, device=images.device) for step in self.steps]
        self.per_victim_parameters: list[str] = []
        self._verify(probe_batch(self, victims=2, images=max(map(max, self.steps)) + 1))

    def check(self, x: Tensor, labels: Tensor) -> None:
        """See that mapped victims are looped ones on these images (V, N, C, H, W) and labels (V, N) too."""
        self._verify(probe_on(self, x, labels))

    def gradients(
        self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor, *, differentiable: bool
    ) -> dict[str, ParameterGradient]:
        """Every victim's weight difference over the learning rate, ``(W_0 - W_S) / lr``.

        Args:
            x: (V, N, C, H, W), normalised.
            masks: Per site, that is for each step its own, (V, images of the step, *site.shape); None switches
                dropout off.
            labels: (V, N) class indices.
            differentiable: Whether the result is to be differentiated with respect to ``x`` and ``masks``.
        """
        summed, _ = self._walk(x, masks, labels, differentiable)
        return {name: DenseGradient(value) for name, value in summed.items()}

    def losses(self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor) -> Tensor:
        """The sum of every victim's losses on the way (V,), differentiable through all steps."""
        return self._walk(x, masks, labels, True)[1]

    def _walk(
        self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor, differentiable: bool
    ) -> tuple[Weights, Tensor]:
        """Like :meth:`_take_steps`; what torch cannot map, forward or backward, is looped from then on."""
        if not self.per_victim_parameters:
            try:
                return self._take_steps(x, masks, labels, differentiable)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # an operation that is not implemented, or images that take another way
                self.per_victim_parameters = list(self.parameters)
        return self._take_steps(x, masks, labels, differentiable)

    def _take_steps(
        self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor, differentiable: bool
    ) -> tuple[Weights, Tensor]:
        """Take all steps: the summed gradients (V, *shape) and the summed losses (V,)."""
        victims, places = len(x), len(self._places)
        start = self.parameters
        states: list[State | None] = [None] * victims
        weights = {n: p.detach().expand(victims, *p.shape).requires_grad_() for n, p in start.items()}
        summed: Weights = {}
        total = x.new_zeros(victims)
        with torch.enable_grad():
            for number, chosen in enumerate(self._chosen):
                used = None if masks is None else list(masks[number * places : (number + 1) * places])
                logits = self._forward(weights, x.index_select(1, chosen), used, states)
                expected = labels.index_select(1, chosen)
                losses = F.cross_entropy(logits.flatten(0, 1), expected.flatten(), reduction="none")
                loss = losses.view(expected.shape).mean(1)
                total = total + loss
                slopes = torch.autograd.grad(
                    loss.sum(), list(weights.values()), create_graph=differentiable, materialize_grads=True
                )
                for name, slope in zip(weights, slopes, strict=True):
                    summed[name] = summed[name] + slope if name in summed else slope
                weights = {n: start[n].detach() - self.learning_rate * value for n, value in summed.items()}
                if not differentiable:
                    weights = {name: value.requires_grad_() for name, value in weights.items()}
        return summed, total if differentiable else total.detach()

    def _forward(
        self, weights: Weights, x: Tensor, masks: list[Tensor] | None, states: list[State | None]
    ) -> Tensor:
        """Logits (V, images, classes), every victim with its own weights and, where passes change them, buffers."""
        return (self._looped if self.per_victim_parameters else self._mapped)(weights, x, masks, states)

    def _mapped(
        self, weights: Weights, x: Tensor, masks: list[Tensor] | None, states: list[State | None]
    ) -> Tensor:
        mapped = torch.vmap(self._one, in_dims=(0, 0, None if masks is None else 0))
        return mapped(weights, x, masks)

    def _looped(
        self, weights: Weights, x: Tensor, masks: list[Tensor] | None, states: list[State | None]
    ) -> Tensor:
        logits = []
        for v in range(len(x)):
            own = {name: value[v] for name, value in weights.items()}
            with self.buffers.starting_from(states[v]):
                logits.append(self._one(own, x[v], None if masks is None else [mask[v] for mask in masks]))
            states[v] = self.buffers.end
        return torch.stack(logits)

    def _one(self, weights: Weights, x: Tensor, masks: list[Tensor] | None) -> Tensor:
        with use_masks(self._places, masks), self._using(weights):
            return self.model(x)

    @contextmanager
    def _using(self, weights: Weights) -> Iterator[None]:
        """Inside the block the model has these weights, shared parameters everywhere.

        ``torch.func.functional_call`` would do, but for a module under two names it leaves them in (torch 2.13).
        """
        names = {id(parameter): name for name, parameter in self.parameters.items()}
        slots = [
            (module._parameters, key, parameter)
            for module in self.model.modules()
            for key, parameter in module._parameters.items()
            if id(parameter) in names
        ]
        try:
            for parameters, key, parameter in slots:
                parameters[key] = weights[names[id(parameter)]]  # type: ignore[assignment]
            yield
        finally:
            for parameters, key, parameter in slots:
                parameters[key] = parameter

    def _verify(self, probe: Probe) -> None:
        """Loop where mapping fails on a step of any size."""
        sizes = {len(step): number for number, step in enumerate(self.steps)}
        for number in sizes.values():
            if not self.per_victim_parameters and not self._can_be_mapped(probe, number):
                self.per_victim_parameters = list(self.parameters)

    @full_precision_products()
    def _can_be_mapped(self, probe: Probe, step: int) -> bool:
        """Tell whether mapped victims have the losses, gradients and second derivatives of looped ones in a step."""
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.model.modules()):
            return False  # its statistics belong to one victim, and torch 2.13 differentiates it wrongly
        images, places = self.steps[step], len(self._places)
        x, labels = probe.x[:, images].detach().requires_grad_(), probe.labels[:, images]
        masks = list(probe.masks[step * places : (step + 1) * places])
        looped = self._slopes(self._looped, x, masks, labels)
        if self.buffers.changed():
            return False  # every victim has buffers of its own after the first step
        try:
            mapped = self._slopes(self._mapped, x, masks, labels)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return False
        scale = max(float(value.norm()) for value in looped)
        tolerance = PROBE_TOLERANCE.get(x.dtype, 1e-3)
        return all(
            float((a - b).norm()) <= tolerance * (float(b.norm()) + 1e-6 * scale)
            for a, b in zip(mapped, looped, strict=True)
        )

    def _slopes(
        self, forward: Callable[..., Tensor], x: Tensor, masks: list[Tensor], labels: Tensor
    ) -> list[Tensor]:
        """Gradients by every weight, and by the images the derivative of their squared norm."""
        weights = {
            name: p.detach().expand(len(x), *p.shape).requires_grad_() for name, p in self.parameters.items()
        }
        with torch.enable_grad():
            logits = forward(weights, x, masks, [None] * len(x))
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
            slopes = torch.autograd.grad(
                loss, list(weights.values()), create_graph=True, materialize_grads=True
            )
            square = torch.stack([slope.square().sum() for slope in slopes]).sum()
            (second,) = torch.autograd.grad(square, x)
        return [*(slope.detach() for slope in slopes), second]
