"""Limited-memory BFGS inside a box, one row per victim: for badly conditioned searches, one evaluation per iteration.

The step of Nocedal & Wright (2006, algorithm 7.4) over the pairs of the last iterations. It begins from a diagonal, the
inverse root of each entry's mean square gradient: the slopes of pixels and of the masks of different sites differ by
orders of magnitude. Entries that the box holds do not move; a step that descends too little is halved.

The algorithm's two loops are solved as two triangular systems (the compact form of Byrd, Nocedal & Schnabel 1994). With
the pairs' steps S and changes Y (pairs, D), oldest first, R the upper triangle of S Y^T, B its diagonal and H the first
inverse Hessian, a diagonal:

    R a = S g,    r = H (g - Y^T a),    R^T c = B a - Y r,    direction = -(r + S^T c)

R gains one row and one column per iteration, so S is read twice and Y once.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dia.attacks.optimisation.blocks import blocks

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
TINY = torch.finfo(torch.float32).tiny


@dataclass
class BatchedLBFGS:
    """The memory of the method for V victims with D variables each, and room for the pairs of P iterations.

    Attributes:
        mean_square: (V, D) of the gradients so far, up to a factor.
        point, gradient: (V, D) where a step was last accepted.
        loss: (V,) there; infinite before the first.
        direction: (V, D) from there.
        length: (V,) fraction of ``direction`` that is being tried.
        hessian_scale: (V,) factor that makes an inverse curvature of the diagonal; 0 while that is not known.
        steps, changes: (V, P, D) between two accepted points, and between their gradients; the newest pair takes the
            place of the oldest.
        products: (V, P, P) float64, of every step with every change not older than it.
        used: (V, P) whether the pair is to be used.
        noted: (V,) how many pairs were noted so far, the same for all victims.
    """

    mean_square: Tensor
    point: Tensor
    gradient: Tensor
    loss: Tensor
    direction: Tensor
    length: Tensor
    hessian_scale: Tensor
    steps: Tensor
    changes: Tensor
    products: Tensor
    used: Tensor
    noted: Tensor

    @classmethod
    def start(cls, variables: Tensor, history_size: int) -> "BatchedLBFGS":
        """Without any knowledge, for ``variables`` (V, D) and ``history_size`` pairs."""
        victims, entries = variables.shape
        ones = variables.new_ones(victims, dtype=torch.float64)
        return cls(
            mean_square=torch.zeros_like(variables),
            point=torch.zeros_like(variables),
            gradient=torch.zeros_like(variables),
            loss=torch.full_like(ones, torch.inf),
            direction=torch.zeros_like(variables),
            length=ones,
            hessian_scale=torch.zeros_like(ones),
            steps=variables.new_zeros(victims, history_size, entries),
            changes=variables.new_zeros(victims, history_size, entries),
            products=ones.new_zeros(victims, history_size, history_size),
            used=ones.new_zeros(victims, history_size, dtype=torch.bool),
            noted=ones.new_zeros(victims, dtype=torch.int64),
        )

    def update_diagonal(self, gradient: Tensor) -> None:
        """Note the gradient (V, D) of one iteration, whichever method makes the step."""
        self.mean_square.mul_(DECAY).addcmul_(gradient, gradient, value=1 - DECAY)

    def step(
        self,
        variables: Tensor,
        gradient: Tensor,
        loss: Tensor,
        bounds: tuple[Tensor, Tensor],
        *,
        sizes: list[int],
        max_step: float,
    ) -> None:
        """Judge the point that was evaluated, and put the next one to evaluate in its place.

        Args:
            variables: (V, D); replaced in place.
            gradient: Likewise.
            loss: (V,).
            bounds: Lowest and highest values, (D,) each.
            sizes: How many variables the images, and the masks of each site, have.
            max_step: How far an entry moves at most.
        """
        diagonal = self._diagonal(sizes)
        held = (variables <= bounds[0]) & (gradient > 0) | (variables >= bounds[1]) & (gradient < 0)
        free = gradient.masked_fill(held, 0)
        newest = self.noted[:1] % self.steps.shape[1]
        self.noted += 1
        diagonal, free = self._diagonal(sizes), torch.empty_like(gradient)
        found = self._note_pair(newest, variables, gradient, bounds, free, diagonal)
        accepted = self._accept(newest, loss.double(), found, torch.finfo(variables.dtype).eps)
        furthest = self._turn(accepted, found, variables, gradient, free, diagonal, max_step)
        share = self.length * (max_step / (self.length * furthest).clamp_min(TINY)).clamp_max(1)
        share = share.to(variables)[:, None]
        for trial, point, direction, part, low, high in blocks(
            variables, self.point, self.direction, share, *bounds
        ):
            torch.clamp(torch.addcmul(point, direction, part), low, high, out=trial)

    def _diagonal(self, sizes: list[int]) -> Tensor:
        """(V, D) inverse curvatures up to a factor."""
        found = self.mean_square.sqrt()
        for root in found.split(sizes, 1):
            root += DAMPING * root.mean(1, keepdim=True)
        return found.clamp_min_(TINY).reciprocal_()

    def _note_pair(
        self,
        newest: Tensor,
        trial: Tensor,
        gradient: Tensor,
        bounds: tuple[Tensor, Tensor],
        free: Tensor,
        diagonal: Tensor,
    ) -> "_Products":
        """Note the step to ``trial`` (V, D) as the pair number ``newest`` (1,), and find what judges it.

        ``free`` (V, D) receives the gradient there, 0 where the box holds an entry.
        """
        victims, pairs = self.used.shape
        of_steps, of_step, of_change, steepest = (
            self.products.new_zeros(victims, *shape) for shape in ((2, pairs), (3, 1), (2,), (1,))
        )
        none = gradient.new_zeros(())
        for t, p, g, before, d, f, low, high, steps, changes, *sums in blocks(
            trial, self.point, gradient, self.gradient, diagonal, free, *bounds, self.steps, self.changes,
            of_steps, of_step, of_change, steepest,
        ):  # fmt: skip
            moved, change = t - p, g - before
            steps.index_copy_(1, newest, moved[:, None])
            changes.index_copy_(1, newest, change[:, None])
            held = torch.clamp(t - g.sign(), low, high) == t
            torch.where(held, none, g, out=f)
            sums[0] += torch.stack([change, f], 1) @ steps.transpose(1, 2)
            sums[1] += torch.stack([before, g, moved], 1) @ moved[:, :, None]
            square = change.square()
            sums[2] += torch.stack([square.sum(1), square.mul_(d).sum(1)], 1)
            sums[3].copy_(torch.maximum(sums[3], (f * d).abs_().amax(1, keepdim=True)))
        self.products.index_copy_(2, newest, of_steps[:, 0, :, None])
        curvature = of_steps[:, 0].index_select(1, newest)[:, 0]
        slope, slope_there, step_square = of_step[..., 0].unbind(1)
        change_square, bent = of_change.unbind(1)
        return _Products(
            of_steps[:, 1], curvature, slope, slope_there, step_square, change_square, bent, steepest[:, 0]
        )

    def _accept(self, newest: Tensor, loss: Tensor, found: "_Products", rounding: float) -> Tensor:
        """(V,) whose step is accepted; forget or use the newest pair."""
        begun = self.loss.isfinite()
        # Where rounding hides the descent, the slopes tell (Hager & Zhang 2005, the approximate Wolfe conditions).
        blurred = loss <= self.loss + ROUNDING * rounding
        enough = loss <= self.loss + ARMIJO * found.slope
        enough |= blurred & (found.slope_there <= (2 * ARMIJO - 1) * found.slope)
        stuck = begun & ~enough & (self.length < SHORTEST)
        accepted = enough | stuck
        cosine = found.curvature / (found.step_square.sqrt() * found.change_square.sqrt())
        used = begun & enough & (cosine > CURVATURE)
        self.used.masked_fill_(stuck[:, None], False).index_copy_(1, newest, used[:, None])
        self.hessian_scale.masked_fill_(stuck, 0)
        self.hessian_scale = torch.where(used, found.curvature / found.bent, self.hessian_scale)
        self.loss = torch.where(accepted, loss, self.loss)
        self.length = torch.where(accepted, 1.0, self.length / 2)
        return accepted

    def _turn(
        self,
        accepted: Tensor,
        found: "_Products",
        trial: Tensor,
        gradient: Tensor,
        free: Tensor,
        diagonal: Tensor,
        max_step: float,
    ) -> Tensor:
        """Move the ``accepted`` victims to ``trial`` and find their directions there.

        A direction is minus the inverse Hessian times ``free``; along the diagonal alone where that does not descend.

        Returns:
            (V,) how far each direction moves an entry at most.
        """
        pairs = self.used.shape[1]
        order = (self.noted[:, None] + torch.arange(pairs, device=trial.device)) % pairs
        used = self.used.gather(1, order)
        matrix = self.products.gather(1, order[:, :, None].expand_as(self.products))
        matrix = matrix.gather(2, order[:, None].expand_as(matrix)).triu()
        matrix = matrix.where(used[:, :, None] & used[:, None], 0) + torch.diag_embed((~used).double())
        along = found.free_with_steps.gather(1, order).where(used, 0)
        shares = torch.linalg.solve_triangular(matrix, along[..., None], upper=True)[..., 0]

        def by_slot(ordered: Tensor) -> Tensor:
            return torch.zeros_like(ordered).scatter_(1, order, ordered).to(trial)[:, None]

        first = FIRST * max_step / found.steepest.clamp_min(TINY)
        scale = torch.where(self.hessian_scale > 0, self.hessian_scale, first).to(trial)[:, None]
        rest, with_changes, descent = (
            torch.empty_like(free),
            torch.zeros_like(along),
            torch.zeros_like(along[:, :1]),
        )
        for g, d, r, changes, share, factor, *sums in blocks(
            free, diagonal, rest, self.changes, by_slot(shares), scale, with_changes, descent
        ):
            inverse = torch.baddbmm(g[:, None], share, changes, alpha=-1).mul_((d * factor)[:, None])
            sums[0] += (inverse @ changes.transpose(1, 2))[:, 0]
            sums[1] += (inverse @ g[:, :, None])[:, 0]
            r.copy_(inverse[:, 0])
        right = matrix.diagonal(dim1=1, dim2=2) * shares - with_changes.gather(1, order)
        right = right.where(used, 0)[..., None]
        shares = torch.linalg.solve_triangular(matrix.transpose(1, 2), right, upper=False)[..., 0]
        descends = descent + (shares * along).sum(1, keepdim=True) > 0
        furthest = torch.zeros_like(descent)
        for g, f, d, r, steps, share, factor, good, chosen, most, *old_and_new in blocks(
            gradient, free, diagonal, rest, self.steps, by_slot(shares.where(descends, 0)), scale, descends,
            accepted[:, None], furthest, self.direction, self.point, trial, self.gradient,
        ):  # fmt: skip
            direction, point, t, before = old_and_new
            downhill = torch.baddbmm(r[:, None], share, steps)[:, 0]
            downhill = torch.where(good, downhill, f * d * factor).neg_().mul_(f == g)
            for old, new in ((direction, downhill), (point, t), (before, g)):
                torch.where(chosen, new, old, out=old)
            most.copy_(torch.maximum(most, direction.abs().amax(1, keepdim=True)))
        return furthest[:, 0]


class _Products(NamedTuple):
    """Inner products that judge a step and find the next direction, of V victims, in float64.

    Attributes:
        free_with_steps: (V, P) of the gradient at the trial, where the box does not hold it, with every step.
        curvature: (V,) of the step with the change of the gradient.
        slope, slope_there: (V,) of the step with the gradient where it began and where it ends.
        step_square, change_square: (V,).
        bent: (V,) of the change with itself, weighted by the diagonal.
        steepest: (V,) how far an entry moves at most along the diagonal.
    """

    free_with_steps: Tensor
    curvature: Tensor
    slope: Tensor
    slope_there: Tensor
    step_square: Tensor
    change_square: Tensor
    bent: Tensor
    steepest: Tensor
