"""Everything that the attack on one cell is told, as one canonical text."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

from dia.jobs.cell import Cell
from dia.models.custom import FingerprintedModel
from dia.settings.scenario import Settings
from dia.utils.canonical_json import canonical
from dia.utils.strict_model import StrictModel
from dia.utils.validation_errors import validate_json

# Keys of a dataset that say where it is found, not what it is: moving it renames no cell and reruns none.
_LOCATION_KEYS = frozenset({"root", "download", "path", "updates", "before", "settings", "originals"})


class AttackJob(StrictModel):
    """One cell with its resolved settings.

    Attributes:
        cell: The cell.
        settings: Its resolved settings.
        dataset: The definition of its dataset, without where the files are found (the attack reads the victim
            set that was made from them).
        model: The definition of a user's own model; None for a built-in architecture.
    """

    cell: Cell
    settings: Settings
    dataset: dict[str, Any]
    model: FingerprintedModel | None = None

    @classmethod
    def from_config(
        cls,
        cell: Cell,
        settings: Settings,
        dataset: Mapping[str, Any],
        model: FingerprintedModel | None = None,
    ) -> Self:
        """A job from the full definition of its dataset."""
        known = {key: dataset[key] for key in dataset if key not in _LOCATION_KEYS}
        return cls(cell=cell, settings=settings, dataset=known, model=model)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the canonical text back.

        Raises:
            ConfigError: Not JSON, or a part is missing or not valid.
        """
        return validate_json(cls, text, "the job")

    @property
    def model_definition(self) -> str:
        """The definition of a user's own model as canonical JSON; empty for a built-in architecture."""
        return "" if self.model is None else canonical(self.model.model_dump(mode="json"))

    def canonical_json(self) -> str:
        """The canonical text: sorted keys, no spaces. Equal jobs give equal text."""
        return canonical(self.model_dump(mode="json", exclude={"model"} if self.model is None else None))

    @property
    def sha256(self) -> str:
        """A SHA-256 of everything but settings at their default: a setting that comes later changes none of them."""
        said = json.loads(self.canonical_json())
        said["settings"] = self.settings.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(canonical(said).encode()).hexdigest()
