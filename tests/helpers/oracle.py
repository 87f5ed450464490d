"""The obvious attack: one victim after another, double backward through every weight gradient.

Written as one would write it with torch alone, in the manner of the released scripts. It shares no code with
:mod:`dia.gradients` or :mod:`dia.attacks`, so that the fast engine can be held against it; nothing in it is
slowed down, so that the speed of the two can be compared.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from helpers.plain_lbfgs import PlainLBFGS
from torch import Tensor, nn

from dia.settings.scenario import Settings


class MaskedDropout(nn.Module):
    """``x * mask / (1 - p)`` with the mask of this call; without masks the identity."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.masks: list[Tensor] | None = None
        self.calls = 0

    def forward(
        self, x: Tensor, *, shape: tuple[int, ...] | None = None, part: tuple[slice, ...] | None = None
    ) -> Tensor:
        self.calls += 1
        if not self.masks:
            return x
        mask = self.masks[self.calls - 1]
        if part is not None:
            mask = mask[(slice(None), *part)]
        return x * mask / (1 - self.p)


class Client:
    """A model with masked dropout and plain autograd.

    Args:
        model: Any model; it is copied, its dropout modules are replaced in the copy.
        image: One input (1, C, H, W), to see how often each dropout module is called.
    """

    def __init__(self, model: nn.Module, image: Tensor) -> None:
        self.model = copy.deepcopy(model).requires_grad_(True)
        replaced: dict[nn.Module, MaskedDropout] = {}
        for parent in list(self.model.modules()):
            for name, child in list(parent._modules.items()):
                if isinstance(child, nn.Dropout | nn.Dropout2d):
                    setattr(parent, name, replaced.setdefault(child, MaskedDropout(child.p)))
        # Module order; a rate of zero has no mask.
        self.dropouts = [m for m in self.model.modules() if isinstance(m, MaskedDropout) and m.p > 0]
        training = self.model.training
        with torch.no_grad():
            self.model.eval()(image)
        self.model.train(training)
        self.counts = [dropout.calls for dropout in self.dropouts]
        self.rates = [d.p for d, count in zip(self.dropouts, self.counts, strict=True) for _ in range(count)]
        self.parameters = dict(self.model.named_parameters())

    def loss(self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor) -> Tensor:
        """Mean cross-entropy of one victim: x (N, C, H, W), a mask (N, ...) a dropout call, labels (N,)."""
        rest = list(masks or [])
        for dropout, count in zip(self.dropouts, self.counts, strict=True):
            dropout.calls = 0
            dropout.masks, rest = rest[:count], rest[count:]
        return F.cross_entropy(self.model(x), labels)

    def gradient(
        self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor, create_graph: bool = False
    ) -> list[Tensor | None]:
        """The gradient of every parameter; None for one that takes no part."""
        loss = self.loss(x, masks, labels)
        return list(
            torch.autograd.grad(
                loss, list(self.parameters.values()), create_graph=create_graph, allow_unused=True
            )
        )


def norm(gradient: Sequence[Tensor | None]) -> Tensor:
    """Euclidean norm over all parameters together."""
    return torch.stack([g.square().sum() for g in gradient if g is not None]).sum().sqrt()


def cosine_distance(
    gradient: Sequence[Tensor | None],
    received: Sequence[Tensor | None],
    received_norm: Tensor,
    epsilon: str = "absolute",
) -> Tensor:
    """``1 - <g, g*> / (|g| |g*| + 1e-8)`` over all parameters together; ``relative``: 1e-8 in units of ``|g*|^2``."""
    products = [
        (g * t).sum() for g, t in zip(gradient, received, strict=True) if g is not None and t is not None
    ]
    unit = received_norm**2 if epsilon == "relative" else 1.0
    return 1 - torch.stack(products).sum() / (norm(gradient) * received_norm + 1e-8 * unit)


def total_variation(x: Tensor) -> Tensor:
    """Mean |dx| + mean |dy| over the victim's images (N, C, H, W)."""
    return (x[:, :, :, 1:] - x[:, :, :, :-1]).abs().mean() + (x[:, :, 1:, :] - x[:, :, :-1, :]).abs().mean()


@dataclass
class Result:
    """What one attack on one victim ends with: the kept iterate and the curves.

    ``last_masks`` are what was optimised for the masks after the last step: they themselves, or their logits.
    """

    x: Tensor
    masks: list[Tensor]
    last_masks: list[Tensor]
    best_loss: float
    best_distance: float
    best_iteration: int
    iterations: int = 0
    stop_reason: str = "max_iterations"
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


def attack(
    client: Client,
    received: Sequence[Tensor | None],
    labels: Tensor,
    x0: Tensor,
    box: tuple[Tensor, Tensor],
    settings: Settings,
    *,
    masks: Sequence[Tensor] | None = None,
    optimise_masks: bool = False,
) -> Result:
    """Attack one victim.

    Args:
        client: The model.
        received: The client's gradient.
        labels: (N,).
        x0: (N, C, H, W) where the image starts.
        box: The lowest and highest pixel values, each broadcastable to an image.
        settings: Iterations, learning rate, patience, weights of the loss.
        masks: (N, ...) a dropout call: the client's (wiig) or where the search begins (dia); None for ig.
        optimise_masks: Whether they are optimised (dia).
    """
    x = x0.clone().requires_grad_(True)
    logits = optimise_masks and settings.mask_parametrisation == "sigmoid"
    used = None if masks is None else [mask.clone() for mask in masks]
    sought = [torch.special.logit(m.clamp(0.05, 0.95)) if logits else m for m in used or [] if optimise_masks]
    for variable in sought:
        variable.requires_grad_()
    betas, first = (0.9, settings.adam_beta2), settings.learning_rate
    of_image = torch.optim.Adam([x], lr=first, betas=betas)
    optimizers = [of_image]
    if sought:
        optimizers.append(torch.optim.Adam(sought, lr=settings.mask_learning_rate or first, betas=betas))
    if settings.learning_rate_schedule == "cosine":
        # torch's own formula for the last factor is recursive; this is its closed form.
        last, count = settings.final_learning_rate / first, settings.max_iterations
        schedulers = [
            torch.optim.lr_scheduler.LambdaLR(
                o, lambda done: last + (1 - last) * (1 + math.cos(math.pi * done / count)) / 2
            )
            for o in optimizers
        ]
    else:
        schedulers = [
            torch.optim.lr_scheduler.ReduceLROnPlateau(
                o, factor=settings.plateau_factor, patience=settings.plateau_patience
            )
            for o in optimizers
        ]
    newton = None
    if settings.lbfgs_start_iteration is not None:
        ends = (-math.inf, math.inf) if logits else (0.0, 1.0)
        lows, highs = (
            torch.cat([side.expand_as(x).flatten(), *(torch.full_like(v, end).flatten() for v in sought)])
            for side, end in zip(box, ends, strict=True)
        )
        sizes = [v.numel() for v in [x, *sought]]
        newton = PlainLBFGS(sizes, lows, highs, first, settings.lbfgs_history_size)
    result = Result(x0, [], [], float("inf"), float("inf"), 0)
    received_norm = norm(received)
    waited = 0
    for iteration in range(settings.max_iterations):
        for variable in [x, *sought]:
            variable.grad = None
        client.model.zero_grad()
        if sought:
            used = [torch.sigmoid(variable) if logits else variable for variable in sought]
        gradient = client.gradient(x, used, labels, create_graph=True)
        distance = cosine_distance(gradient, received, received_norm, settings.cosine_epsilon)
        smoothing = 1.0
        if iteration < settings.tv_decay_iterations:
            smoothing = math.exp(
                math.log(settings.tv_initial_factor) * (1 - iteration / settings.tv_decay_iterations)
            )
        loss = distance + settings.tv_weight * smoothing * total_variation(x)
        for mask, rate in zip(used if sought else [], client.rates if sought else [], strict=True):
            loss = loss + settings.mask_penalty_weight * ((1 - mask.mean()) - rate).abs()
        loss.backward()
        value = loss.item()
        result.rates.append(of_image.param_groups[0]["lr"])
        together = torch.cat([v.detach().flatten() for v in [x, *sought]])
        slope = torch.cat([v.grad.flatten() for v in [x, *sought]])
        if newton is not None:
            newton.update_diagonal(slope)
        by_newton = newton is not None and iteration >= settings.lbfgs_start_iteration
        if by_newton:  # judged by the iterate that was evaluated, as the step from it may be taken back
            kept_x, kept_masks = x.detach().clone(), [v.detach().clone() for v in sought]
            together = newton.step(together, slope, value)
            with torch.no_grad():
                for variable, part in zip([x, *sought], together.split(sizes), strict=True):
                    variable.copy_(part.view_as(variable))
        else:
            if settings.signed_gradients:
                x.grad.sign_()
            for optimizer in optimizers:
                optimizer.step()
            for scheduler in schedulers:
                if settings.learning_rate_schedule == "cosine":
                    scheduler.step()
                else:
                    scheduler.step(value)
            with torch.no_grad():
                x.clamp_(*box)
                for variable in [] if logits else sought:
                    variable.clamp_(0, 1)
            kept_x, kept_masks = x.detach().clone(), [v.detach().clone() for v in sought]
        result.losses.append(value)
        result.iterations = iteration + 1
        if value < result.best_loss:
            result.best_loss, result.best_distance, result.best_iteration = value, distance.item(), iteration
            result.x = kept_x
            result.masks = [torch.sigmoid(v) if logits else v for v in kept_masks]
            waited = 0
        else:
            waited += 1
        if result.best_loss < settings.loss_tolerance:
            result.stop_reason = "converged"
            break
        if waited >= settings.early_stop_patience:
            result.stop_reason = "no_improvement"
            break
    result.last_masks = [variable.detach().clone() for variable in sought]
    return result
