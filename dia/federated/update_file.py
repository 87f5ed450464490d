"""Updates from the files that federated frameworks write; NVIDIA FLARE's DXO is read by ``examples/nvflare``."""

from pathlib import Path

from torch import Tensor

from dia.errors import UpdateError
from dia.utils.tensor_file import read_tensors


def read_update(path: str | Path) -> dict[str, Tensor] | list[Tensor]:
    """Read the tensors of an update.

    Args:
        path: A file with one of :data:`dia.utils.paths.TENSOR_SUFFIXES`.

    Returns:
        Tensors by name, 0-d counters such as ``num_batches_tracked`` left out; in order where the file has
        positions only, which are those of the model's state dict.

    Raises:
        UpdateError: The file is missing, damaged, of another kind, pickled, or holds something else than tensors.
    """
    tensors = read_tensors(path, what="an update", error=UpdateError)
    if isinstance(tensors, list):
        return tensors  # positions tell which is which: none may be left out
    return {name: value for name, value in tensors.items() if value.ndim or value.is_floating_point()}
