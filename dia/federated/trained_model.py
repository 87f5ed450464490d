"""The file of a trained model: an .npz of plain arrays with its training job and its utility; never a pickle."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dia.errors import ModelError
from dia.utils.files import atomic_path
from dia.utils.npz import read_npz

PREFIX = "state/"
META = "meta"


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """Weights after federated training.

    Attributes:
        job: The canonical text of the training job.
        victims_sha256: The victim set whose images were kept out of training and testing.
        state: Parameters and buffers by name.
        utility: What the model is worth: see :func:`dia.federated.training.train`.
    """

    job: str
    victims_sha256: str
    state: dict[str, NDArray[Any]]
    utility: dict[str, float]

    @classmethod
    def of(cls, model: nn.Module, job: str, victims_sha256: str, utility: dict[str, float]) -> Self:
        """The present state of a model."""
        state = {name: value.detach().cpu().numpy().copy() for name, value in model.state_dict().items()}
        return cls(job, victims_sha256, state, utility)

    def save(self, path: str | Path) -> None:
        """Write the model, whole or not at all."""
        meta = {"job": self.job, "victims_sha256": self.victims_sha256, "utility": self.utility}
        arrays: dict[str, Any] = {PREFIX + name: value for name, value in self.state.items()}
        arrays[META] = np.array(json.dumps(meta, sort_keys=True))
        with atomic_path(path) as temporary:
            np.savez(temporary, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model that :meth:`save` wrote.

        Raises:
            ModelError: The file is missing, damaged or foreign.
        """
        try:
            arrays = read_npz(path, None, what="trained model", error=ModelError)
            meta = json.loads(str(arrays.pop(META)))
            state = {name.removeprefix(PREFIX): value for name, value in arrays.items()}
            return cls(meta["job"], meta["victims_sha256"], state, dict(meta["utility"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"trained model {path}: its description (meta) is not one that `dia train` writes "
                f"({type(error).__name__}: {error})"
            ) from error

    def check(self, job: str, victims_sha256: str, path: str | Path) -> None:
        """See that this is the model of a training job, and that these victims are strangers to it.

        Raises:
            ModelError: It is another model, or was trained beside another victim set.
        """
        if self.job != job:
            raise ModelError(
                f"trained model {path} was trained otherwise than this cell asks for: {self.job}, not {job}"
            )
        if self.victims_sha256 != victims_sha256:
            raise ModelError(
                f"trained model {path} was trained beside another victim set, so these victims may have been among its "
                "training images; delete it and run again"
            )

    def load_into(self, model: nn.Module) -> None:
        """Give a freshly built model these weights.

        Raises:
            ModelError: Names or shapes differ.
        """
        try:
            model.load_state_dict({name: torch.tensor(value) for name, value in self.state.items()})
        except RuntimeError as error:
            raise ModelError(f"trained weights do not fit the model: {error}") from error
