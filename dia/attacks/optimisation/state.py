"""Everything an iterative attack carries from one iteration to the next."""

import math
from collections import deque
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dia.attacks.optimisation.lbfgs import BatchedLBFGS
from dia.attacks.optimisation.schedules import BestIterate, Plateau
from dia.attacks.problem import Problem
from dia.utils.tensors import flat, map_tensors


@dataclass
class SearchState:
    """The state of the V victims of one chunk, one row per victim.

    Attributes:
        iteration: Iterations made; the same for all victims of a chunk.
        victims: (V,) their numbers within the cell.
        variables: (V, D) what is optimised, side by side: the entries of the images and of the masks' variables.
        shapes: Of a victim's images (N, C, H, W) and, per site, of its masks (N, *site.shape); no site where masks are
            not optimised.
        exp_avg, exp_avg_sq: (V, D) Adam's moments.
        plateau: Learning rates.
        lbfgs: The memory of L-BFGS; None where Adam makes all steps.
        best: The best losses.
        best_x: The iterate *after* the step whose loss, computed before it, was best.
        best_kept: (V, entries of all masks) bool, that iterate's masks, rounded: True where an entry is kept.
        best_distance: (V,) the bare matching distance that belongs to the best loss.
        active: (V,) bool, False once a victim has stopped.
        bad_gradient: (V,) bool, True once the gradient of a finite loss was not finite.
        bad_loss: (V,) bool, True once a loss was not finite.
        stopped_at: (V,) the number of iterations after which it stopped.
        seconds: (V,) each victim's share of the time spent.
        threshold: The value of a mask variable above which its entry counts as kept.
        restart: Which of the attack's starts this is, from 0.
    """

    iteration: int
    victims: Tensor
    variables: Tensor
    shapes: list[list[int]]
    exp_avg: Tensor
    exp_avg_sq: Tensor
    plateau: Plateau
    lbfgs: BatchedLBFGS | None
    best: BestIterate
    best_x: Tensor
    best_kept: Tensor
    best_distance: Tensor
    active: Tensor
    bad_gradient: Tensor
    bad_loss: Tensor
    stopped_at: Tensor
    seconds: Tensor
    threshold: float
    restart: int

    @classmethod
    def start(
        cls, problem: Problem, victims: Tensor, x: Tensor, masks: list[Tensor], threshold: float, restart: int
    ) -> "SearchState":
        """Before the first iteration, at image ``x`` and at the variables ``masks`` (possibly none)."""
        count, device = len(x), x.device
        variables = flat([x, *masks])
        plateau = Plateau.start(count, problem.settings.learning_rate, device)
        uses_lbfgs = problem.settings.lbfgs_start_iteration is not None
        return cls(
            iteration=0,
            victims=victims,
            variables=variables,
            shapes=[list(part.shape[1:]) for part in (x, *masks)],
            exp_avg=torch.zeros_like(variables),
            exp_avg_sq=torch.zeros_like(variables),
            plateau=plateau,
            lbfgs=BatchedLBFGS.start(variables, problem.settings.lbfgs_history_size) if uses_lbfgs else None,
            best=BestIterate.start(count, device),
            best_x=x.clone(),
            best_kept=variables[:, x[0].numel() :] > threshold,
            best_distance=torch.full_like(plateau.best, torch.inf),
            active=torch.ones(count, dtype=torch.bool, device=device),
            bad_gradient=torch.zeros(count, dtype=torch.bool, device=device),
            bad_loss=torch.zeros(count, dtype=torch.bool, device=device),
            stopped_at=torch.zeros(count, dtype=torch.int64, device=device),
            seconds=torch.zeros_like(plateau.lr),
            threshold=threshold,
            restart=restart,
        )

    def __len__(self) -> int:
        return len(self.victims)

    @property
    def failed(self) -> Tensor:
        """(V,) bool: a loss or its gradient was not finite."""
        return self.bad_gradient | self.bad_loss

    @property
    def sizes(self) -> list[int]:
        """The number of variables that the images, and the masks of each site, have."""
        return [math.prod(shape) for shape in self.shapes]

    @property
    def x(self) -> Tensor:
        """(V, N, C, H, W) images, normalised; a view."""
        return self.variables[:, : self.sizes[0]].unflatten(1, self.shapes[0])

    @property
    def mask_variables(self) -> Tensor:
        """(V, entries of all masks) the variables of masks; a view."""
        return self.variables[:, self.sizes[0] :]

    @property
    def masks(self) -> list[Tensor]:
        """The variables of masks, per site (V, N, *site.shape); views."""
        return self.per_site(self.mask_variables)

    @property
    def best_masks(self) -> list[Tensor]:
        """The best iterate's masks, rounded, per site (V, N, *site.shape) bool; views."""
        return self.per_site(self.best_kept)

    def per_site(self, entries: Tensor) -> list[Tensor]:
        """Views of (V, entries of all masks) per site (V, N, *site.shape)."""
        parts = entries.split(self.sizes[1:], 1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes[1:], strict=True)]

    def rounded_masks(self) -> list[Tensor]:
        """The current masks, rounded, per site (V, N, *site.shape) bool: True where an entry is kept."""
        return [mask > self.threshold for mask in self.masks]

    def without_optimiser_state(self) -> "SearchState":
        """The part that an outcome needs of stopped victims, on the CPU: only the best images, masks."""
        none = self.variables[:, :0]
        rest = replace(self, variables=none, exp_avg=none, exp_avg_sq=none, lbfgs=None)
        return rest.to(torch.device("cpu"))

    def select(self, rows: Tensor) -> "SearchState":
        """The state of some of the victims ((K,) row indices)."""
        return map_tensors(self, lambda tensor: tensor[rows])

    def to(self, device: torch.device) -> "SearchState":
        """The same state on a device."""
        return map_tensors(self, lambda tensor: tensor.to(device))


@dataclass
class SearchProgress:
    """The progress of an attack with all victims of a cell: all that a later run needs in order to continue.

    Attributes:
        chunk_size: How many victims share a batch, at most.
        initial_chunk_size: Likewise when the attack began; larger where memory ran out since.
        pending: Chunks not begun, the next one first: which start, and which victims ((K,) numbers); states are large.
        active: States of chunks begun, the current one first; that one alone is on the device.
        finished: States of victims that have stopped, each once per start, on the CPU, without the optimiser's.
    """

    chunk_size: int
    initial_chunk_size: int
    pending: deque[tuple[int, Tensor]] = field(default_factory=deque)
    active: deque[SearchState] = field(default_factory=deque)
    finished: list[SearchState] = field(default_factory=list)

    @property
    def victims_remaining(self) -> int:
        """The number of victims that have not stopped, each counted once per start."""
        return sum(map(len, self.active)) + sum(len(victims) for _, victims in self.pending)
