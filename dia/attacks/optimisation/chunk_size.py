"""How many victims fit in memory at once."""

import math
import os

import torch
from torch import Tensor

from dia.attacks.optimisation.chunk import Chunk
from dia.attacks.optimisation.objective import matching_distance
from dia.attacks.optimisation.state import SearchState

SHARE = 0.5
"""The share of the free memory that a chunk may fill: other jobs and the allocator need some too."""
ENOUGH_BYTES = {"cpu": 2**30}
"""A chunk of this size keeps a processor's core busy; a larger one only falls out of its caches."""


def victims_that_fit(chunk: Chunk, state: SearchState, victims: int) -> int:
    """Victims per chunk, from the memory that one evaluation for one victim keeps for its backward pass.

    Args:
        chunk: A single victim.
        state: The start of its attack.
        victims: Number of victims, and so the largest answer.
    """
    problem = chunk.problem
    x = state.x.clone().requires_grad_()
    masks = [mask.detach().requires_grad_() for mask in state.masks]
    saved: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in problem.model.model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        matching_distance(problem.model, problem.received, x, masks or chunk.fixed_masks, problem.labels)
    evaluation = sum(size for pointer, size in saved.items() if pointer not in weights)
    # The state holds each variable, its two moments and its gradient; the step makes two temporaries.
    # L-BFGS has two vectors per pair, and about a dozen more.
    settings = problem.settings
    copies = 6 if settings.lbfgs_start_iteration is None else 18 + 2 * settings.lbfgs_history_size
    variables = copies * sum(v.nbytes for v in [x, *masks])
    device = problem.device
    room = min(SHARE * _free_bytes(device), ENOUGH_BYTES.get(device.type, math.inf))
    return max(1, min(int(room / (1.5 * evaluation + variables)), victims))


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
