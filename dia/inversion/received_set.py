"""The updates of real clients as a victim set: read and checked once, before any cell asks for a GPU.

The stored form is one .npz, read with numpy alone: the weights that the server sent, every client's tensors as they
were sent, private images where somebody has them, and why an update was refused.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dia.datasets.specs import Received
from dia.errors import VictimError
from dia.inversion.settings_file import InversionSettings
from dia.utils.files import atomic_path
from dia.utils.npz import read_npz

Arrays = dict[str, NDArray[Any]]
BEFORE, UPDATE, ORIGINALS = "before/", "update/", "originals"


@dataclass(frozen=True)
class ReceivedVictim:
    """One client.

    Attributes:
        file: Name of the file that holds its update.
        sha256: Of that file.
        refusal: Why it cannot be attacked; empty where it can.
        warnings: What is odd about it.
    """

    file: str
    sha256: str
    refusal: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ReceivedSet:
    """The victims of one part of a received dataset.

    Attributes:
        dataset: The part's name.
        client: What is said about the clients.
        sha256: Hash of that, and of all files that were read.
        victims: The clients, one for each file.
        before: The weights that the server sent, by name.
        updates: What each client sent, by name; empty where it was refused.
        originals: Each client's private images, float32 (N, C, H, W) in [0, 1]; None where nobody has them.
    """

    dataset: str
    client: InversionSettings
    sha256: str
    victims: tuple[ReceivedVictim, ...]
    before: Arrays
    updates: tuple[Arrays, ...]
    originals: tuple[NDArray[np.float32] | None, ...]

    source: ClassVar[str] = "received"
    experiment: ClassVar[str] = "dia.inversion.experiment:build_experiment"

    @classmethod
    def make(cls, spec: Received, name: str) -> "ReceivedSet":
        """Read and check the files of a part.

        Raises:
            UpdateError: What the server sent, or what is said about the clients, cannot be right, or a file is not the
                one that the config saw.
            ModelError: The model cannot be attacked.
        """
        from dia.inversion.received_files import read_part

        return read_part(spec, name)

    def columns(self, number: int, images: int) -> dict[str, Any]:
        """Columns of a result row about victim ``number``, which has so many images."""
        victim = self.victims[number]
        return {
            "source_indices": [number * images + image for image in range(images)],
            "update_file": victim.file,
            "update_sha256": victim.sha256,
        }

    def describe(self) -> list[str]:
        """The content of the set, in lines for a log."""
        refused = sum(bool(victim.refusal) for victim in self.victims)
        known = sum(images is not None for images in self.originals)
        lines = [
            f"{len(self.victims)} updates, {refused} of them refused, {known} with private images; sha256 {self.sha256}"
        ]
        for victim in self.victims:
            lines += [f"{victim.file}: refused: {victim.refusal}"] if victim.refusal else []
            lines += [f"{victim.file}: warning: {warning}" for warning in victim.warnings]
        return lines

    def save(self, path: str | Path) -> None:
        """Write the set to ``path`` (.npz), whole or not at all."""
        meta = {
            "dataset": self.dataset,
            "client": self.client.model_dump(mode="json", exclude_unset=True),
            "sha256": self.sha256,
            "victims": [asdict(victim) for victim in self.victims],
        }
        arrays = {f"{BEFORE}{name}": value for name, value in self.before.items()}
        for number, update in enumerate(self.updates):
            arrays |= {f"{UPDATE}{number}/{name}": value for name, value in update.items()}
        arrays |= {f"{ORIGINALS}{n}": images for n, images in enumerate(self.originals) if images is not None}
        with atomic_path(path) as temporary:
            np.savez(temporary, meta=np.array(json.dumps(meta, sort_keys=True)), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> "ReceivedSet":
        """Read a set that :meth:`save` wrote.

        Raises:
            VictimError: The file is missing, truncated, foreign, or does not hold such a set.
        """
        arrays = read_npz(path, None, what="victim set", error=VictimError)
        try:
            meta = json.loads(str(arrays.pop("meta")))
            victims = tuple(
                ReceivedVictim(**{**v, "warnings": tuple(v["warnings"])}) for v in meta["victims"]
            )
            client = InversionSettings.model_validate(meta["client"])
            dataset, digest = str(meta["dataset"]), str(meta["sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise VictimError(
                f"victim set {path}: not one of received updates ({type(error).__name__}: {error}); make it again"
            ) from error
        return cls(
            dataset,
            client,
            digest,
            victims,
            _below(arrays, BEFORE),
            tuple(_below(arrays, f"{UPDATE}{number}/") for number in range(len(victims))),
            tuple(arrays.get(f"{ORIGINALS}{number}") for number in range(len(victims))),
        )


def _below(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
