"""Limited-memory BFGS inside a box, one row per victim: for badly conditioned searches, one evaluation per iteration.

The two-loop recursion of Nocedal & Wright (2006, algorithm 7.4) over the pairs of the last iterations. It begins from a
diagonal, the inverse root of each entry's mean square gradient: the slopes of pixels and of the masks of different
sites differ by orders of magnitude. Entries that the box holds do not move; a step that descends too little is halved.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dia.utils.tensors import per_victim

ARMIJO = 1e-4
"""Share of the descent which the slope promises that a step must reach."""
ROUNDING = 16
"""Rounding errors, in units of the machine's, that a loss of order one may have: near the end steps gain less."""
SHORTEST = 1e-3
"""A step halved below this share is taken as it is, and the pairs before it are forgotten."""
CURVATURE = 1e-8
"""Smallest cosine between a step and its change of gradient for which the pair is used."""
DECAY = 0.95
"""Of the mean square gradient."""
DAMPING = 0.1
"""Added to an entry's root mean square gradient, in units of its site's mean: a slope may be small by chance."""
FIRST = 0.01
"""While nothing is known of the curvature, a step moves an entry by at most this fraction of ``max_step``."""


@dataclass
class BatchedLBFGS:
    """The memory of the method for V victims with D variables each.

    Attributes:
        mean_squares: Of the gradients so far, up to a factor, per variable (V, ...).
        point, gradient: (V, D) where a step was last accepted.
        loss: (V,) there; infinite before the first.
        direction: (V, D) from there.
        length: (V,) fraction of ``direction`` that is being tried.
        hessian_scale: (V,) factor that makes an inverse curvature of the diagonal; 0 while that is not known.
        steps, changes: The most recent pairs, oldest first: (V, D) between two accepted points, and between their
            gradients.
        curvatures: (V,) per pair: their product; infinite where it is not to be used.
    """

    mean_squares: list[Tensor]
    point: Tensor
    gradient: Tensor
    loss: Tensor
    direction: Tensor
    length: Tensor
    hessian_scale: Tensor
    steps: list[Tensor] = field(default_factory=list)
    changes: list[Tensor] = field(default_factory=list)
    curvatures: list[Tensor] = field(default_factory=list)

    @classmethod
    def start(cls, variables: list[Tensor]) -> "BatchedLBFGS":
        """Without any knowledge, for ``variables`` (V, ...) each."""
        entries = torch.zeros_like(flat(variables))
        ones = torch.ones(len(entries), dtype=torch.float64, device=entries.device)
        return cls(
            mean_squares=[torch.zeros_like(variable) for variable in variables],
            point=entries,
            gradient=entries.clone(),
            loss=torch.full_like(ones, torch.inf),
            direction=entries.clone(),
            length=ones,
            hessian_scale=torch.zeros_like(ones),
        )

    def update_diagonal(self, gradients: list[Tensor]) -> None:
        """Note the gradients (V, ...) of one iteration, whichever method makes the step."""
        for mean, gradient in zip(self.mean_squares, gradients, strict=True):
            mean.mul_(DECAY).addcmul_(gradient, gradient, value=1 - DECAY)

    def step(
        self,
        variables: list[Tensor],
        gradients: list[Tensor],
        loss: Tensor,
        bounds: list[tuple[Tensor, Tensor]],
        *,
        max_step: float,
        history_size: int,
    ) -> None:
        """Judge the point that was evaluated, and put the next one to evaluate in its place.

        Args:
            variables: (V, ...) each; replaced in place.
            gradients: Likewise.
            loss: (V,).
            bounds: Lowest and highest values of each variable, broadcastable to it.
            max_step: How far an entry moves at most.
            history_size: Pairs to remember.
        """
        trial, gradient, loss = flat(variables), flat(gradients), loss.double()
        low, high = (
            flat([bound.expand_as(v) for bound, v in zip(side, variables, strict=True)])
            for side in zip(*bounds, strict=True)
        )
        diagonal = self._diagonal()
        accepted = self._accept(trial, gradient, loss, diagonal, history_size)
        free = ~((self.point <= low) & (self.gradient > 0) | (self.point >= high) & (self.gradient < 0))
        downhill = self._downhill(self.gradient * free, diagonal, max_step) * free
        self.direction = torch.where(accepted[:, None], downhill, self.direction)
        step = self.direction * self.length[:, None].to(trial)
        tiny = torch.finfo(step.dtype).tiny
        step *= (max_step / step.abs().amax(1).clamp_min(tiny)).clamp_max(1)[:, None]
        following = torch.minimum(torch.maximum(self.point + step, low), high)
        for variable, part in zip(
            variables, following.split([v[0].numel() for v in variables], 1), strict=True
        ):
            variable.copy_(part.view_as(variable))

    def _accept(
        self, trial: Tensor, gradient: Tensor, loss: Tensor, diagonal: Tensor, history_size: int
    ) -> Tensor:
        """(V,) whose step is accepted; remember the pair."""
        moved, change = trial - self.point, gradient - self.gradient
        begun = self.loss.isfinite()
        slope, slope_there = (self.gradient * moved).sum(1), (gradient * moved).sum(1)
        # Where rounding hides the descent, the slopes tell (Hager & Zhang 2005, the approximate Wolfe conditions).
        blurred = loss <= self.loss + ROUNDING * torch.finfo(trial.dtype).eps
        enough = (loss <= self.loss + ARMIJO * slope) | blurred & (slope_there <= (2 * ARMIJO - 1) * slope)
        stuck = begun & ~enough & (self.length < SHORTEST)
        accepted = enough | stuck
        curvature = (moved * change).sum(1).double()
        used = begun & enough & (curvature > CURVATURE * moved.norm(dim=1) * change.norm(dim=1))
        for known in self.curvatures:
            known.masked_fill_(stuck, torch.inf)
        self.hessian_scale.masked_fill_(stuck, 0)
        bent = (change.square() * diagonal).sum(1).double()
        self.hessian_scale = torch.where(used, curvature / bent, self.hessian_scale)
        self.steps = [*self.steps, moved][-history_size:]
        self.changes = [*self.changes, change][-history_size:]
        self.curvatures = [*self.curvatures, torch.where(used, curvature, torch.inf)][-history_size:]
        self.point = torch.where(accepted[:, None], trial, self.point)
        self.gradient = torch.where(accepted[:, None], gradient, self.gradient)
        self.loss = torch.where(accepted, loss, self.loss)
        self.length = torch.where(accepted, 1.0, self.length / 2)
        return accepted

    def _diagonal(self) -> Tensor:
        """(V, D) inverse curvatures up to a factor."""
        roots = [mean.sqrt() for mean in self.mean_squares]
        damped = [root + DAMPING * per_victim(root.flatten(1).mean(1), root) for root in roots]
        return 1 / flat(damped).clamp_min(torch.finfo(roots[0].dtype).tiny)

    def _downhill(self, gradient: Tensor, diagonal: Tensor, max_step: float) -> Tensor:
        """(V, D) minus the inverse Hessian times ``gradient``; along the diagonal alone where that does not descend."""
        rest, shares = gradient, []
        pairs = list(zip(self.steps, self.changes, self.curvatures, strict=True))
        for step, change, curvature in reversed(pairs):
            share = ((step * rest).sum(1) / curvature).to(rest)
            rest = torch.addcmul(rest, share[:, None], change, value=-1)
            shares.append(share)
        steepest = diagonal * gradient
        first = FIRST * max_step / steepest.abs().amax(1).clamp_min(torch.finfo(rest.dtype).tiny)
        scale = torch.where(self.hessian_scale > 0, self.hessian_scale, first.double()).to(rest)[:, None]
        found = scale * diagonal * rest
        for (step, change, curvature), share in zip(pairs, reversed(shares), strict=True):
            found = torch.addcmul(
                found, (share - (change * found).sum(1) / curvature).to(rest)[:, None], step
            )
        descends = (found * gradient).sum(1) > 0
        return -torch.where(descends[:, None], found, scale * steepest)


def flat(variables: list[Tensor]) -> Tensor:
    """(V, D): the entries of all variables (V, ...) side by side."""
    return torch.cat([variable.flatten(1) for variable in variables], 1)
