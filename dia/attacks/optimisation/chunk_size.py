"""The number of victims that fit in memory at once."""

import torch
from torch import Tensor

from dia.attacks.optimisation.chunk import Chunk
from dia.attacks.optimisation.objective import matching_distance
from dia.attacks.optimisation.state import SearchState
from dia.utils.devices import total_memory

CHUNK_BYTES = {"cpu": 2**30, "cuda": 2**34}
"""Memory that a chunk may take, by device type; never what is free at the moment, or numbers would depend on it.

A GPU (or a part of one, MIG) that has less than twice as much gives half of what it has: the rest is for the model,
the libraries and the allocator's gaps. From some 10 GiB on a GPU gets no faster. Where that does not fit, the chunk is
halved."""

WORKING_SET_BYTES = {"cpu": 2**28}
"""What one evaluation and one step of Adam may pass over, by device type: a larger chunk falls out of a processor's
caches. The paper's vit on CIFAR-10 (35 MiB per victim) was as fast with 8 victims as with 16, and 10% to 28% slower
with 28, on an idle core."""


def victims_that_fit(chunk: Chunk, state: SearchState, victims: int) -> int:
    """Victims per chunk, from the memory that one evaluation for one victim keeps for its backward pass.

    The same for the same kind of device, model, settings and version of torch.

    Args:
        chunk: A single victim.
        state: The start of its attack.
        victims: Number of victims, and so the largest answer.
    """
    problem = chunk.problem
    x = state.x.clone().requires_grad_()
    masks = [mask.detach().requires_grad_() for mask in state.masks]
    saved: dict[int, torch.UntypedStorage] = {}  # kept alive, so that no address is used twice

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in problem.model.model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        matching_distance(problem.model, problem.received, x, masks or chunk.fixed_masks, problem.labels)
    evaluation = sum(storage.nbytes() for pointer, storage in saved.items() if pointer not in weights)
    # The state holds each variable, its two moments and its gradient; the step makes two temporaries.
    # L-BFGS has two vectors per pair, and about a dozen more, which a step reads once.
    settings, device = problem.settings, problem.device
    more = 0 if settings.lbfgs_start_iteration is None else 12 + 2 * settings.lbfgs_history_size
    working_set = 1.5 * evaluation + 6 * state.variables.nbytes
    room = min(CHUNK_BYTES[device.type], total_memory(device) / 2)
    fit = min(
        room / (working_set + more * state.variables.nbytes),
        WORKING_SET_BYTES.get(device.type, room) / working_set,
    )
    return max(1, min(int(fit), victims))
