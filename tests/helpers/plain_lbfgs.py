"""L-BFGS in a box for one victim, written plainly: the oracle of :mod:`dia.attacks.optimisation.lbfgs`.

The recursion is the textbook's (Nocedal & Wright 2006, algorithm 7.4) over a list of pairs; the constants are written
again, so that one changed by mistake is found.
"""

import torch
from torch import Tensor


class PlainLBFGS:
    """Args: ``sizes`` of the variables; ``low``, ``high`` (D,); ``max_step`` per entry; ``history_size`` pairs."""

    def __init__(
        self, sizes: list[int], low: Tensor, high: Tensor, max_step: float, history_size: int
    ) -> None:
        self.sizes, self.low, self.high, self.max_step, self.history_size = (
            sizes,
            low,
            high,
            max_step,
            history_size,
        )
        self.mean_square = torch.zeros_like(low)
        self.point: Tensor | None = None
        self.pairs: list[tuple[Tensor, Tensor] | None] = []
        self.hessian_scale: float | None = None
        self.length = 1.0

    def update_diagonal(self, gradient: Tensor) -> None:
        self.mean_square = 0.95 * self.mean_square + 0.05 * gradient**2

    def diagonal(self) -> Tensor:
        roots = self.mean_square.sqrt().split(self.sizes)
        return torch.cat([1 / (root + 0.1 * root.mean()) for root in roots])

    def step(self, trial: Tensor, gradient: Tensor, loss: float) -> Tensor:
        """What to evaluate after ``trial`` (D,)."""
        if self.point is None:
            accepted = True
            self.pairs = [*self.pairs, None][-self.history_size :]
        else:
            step, change = trial - self.point, gradient - self.gradient
            slope, slope_there = float(self.gradient @ step), float(gradient @ step)
            enough = loss <= self.loss + 1e-4 * slope
            eps = torch.finfo(torch.float64).eps
            enough |= loss <= self.loss + 16 * eps and slope_there <= (2e-4 - 1) * slope
            accepted = enough or self.length < 1e-3
            pair = None
            if not enough and accepted:
                self.pairs, self.hessian_scale = [None] * len(self.pairs), None
            elif enough and float(step @ change) > 1e-8 * float(step.norm() * change.norm()):
                pair = (step, change)
                self.hessian_scale = float(step @ change) / float(change @ (self.diagonal() * change))
            self.pairs = [*self.pairs, pair][-self.history_size :]
        if accepted:
            self.point, self.gradient, self.loss, self.length = trial, gradient, loss, 1.0
            self.direction = self.downhill()
        else:
            self.length /= 2
        move = self.length * self.direction
        if move.abs().max() > self.max_step:
            move = move * (self.max_step / move.abs().max())
        return torch.clamp(self.point + move, self.low, self.high)

    def downhill(self) -> Tensor:
        held = ((self.point <= self.low) & (self.gradient > 0)) | (
            (self.point >= self.high) & (self.gradient < 0)
        )
        gradient, diagonal = torch.where(held, 0.0, self.gradient), self.diagonal()
        scale = self.hessian_scale
        if scale is None:
            scale = 0.01 * self.max_step / float((diagonal * gradient).abs().max())
        pairs = [pair for pair in self.pairs if pair is not None]
        q, shares = gradient, []
        for step, change in reversed(pairs):
            share = (step @ q) / (step @ change)
            q = q - share * change
            shares.append(share)
        r = scale * diagonal * q
        for (step, change), share in zip(pairs, reversed(shares), strict=True):
            r = r + step * (share - (change @ r) / (step @ change))
        if float(r @ gradient) <= 0:
            r = scale * diagonal * gradient
        return torch.where(held, 0.0, -r)
