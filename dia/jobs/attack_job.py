"""A job: all that the attack on one cell is told, as one canonical text."""

import json
from dataclasses import dataclass
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from dia.errors import ConfigError
from dia.jobs.cell import Cell
from dia.models.custom import FingerprintedModel
from dia.settings.scenario import Settings
from dia.utils.canonical_json import canonical
from dia.utils.validation_errors import validate_model

# Keys of a dataset that say where it is found, not what it is: moving it renames no cell and reruns none.
_LOCATION_KEYS = frozenset({"root", "download", "path"})


@dataclass(frozen=True, slots=True)
class AttackJob:
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
    def of(
        cls, cell: Cell, settings: Settings, dataset: dict[str, Any], model: FingerprintedModel | None = None
    ) -> Self:
        """A job from the full definition of its dataset."""
        return cls(cell, settings, {key: dataset[key] for key in dataset if key not in _LOCATION_KEYS}, model)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the canonical text back.

        Raises:
            ConfigError: Not JSON, not these parts, or a part that is not valid.
        """
        try:
            parts = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"the job is not JSON: {error}") from None
        expected = {"cell", "settings", "dataset"}
        if not isinstance(parts, dict) or set(parts) - {"model"} != expected:
            raise ConfigError(f"the job must be a JSON object with the keys {', '.join(sorted(expected))}")
        try:
            cell = TypeAdapter(Cell).validate_python(parts["cell"])
            dataset = TypeAdapter(dict[str, Any]).validate_python(parts["dataset"])
        except ValidationError as error:
            raise ConfigError(f"the job's cell or dataset is not valid: {error}") from None
        settings = validate_model(Settings, parts["settings"], "the job's settings")
        model = (
            validate_model(FingerprintedModel, parts["model"], "the job's model")
            if "model" in parts
            else None
        )
        return cls(Cell.parse(cell.id), settings, dataset, model)

    @property
    def model_definition(self) -> str:
        """The definition of a user's own model as canonical JSON; empty for a built-in architecture."""
        return "" if self.model is None else canonical(self.model.model_dump(mode="json"))

    def json(self) -> str:
        """The canonical text: sorted keys, no spaces. Equal jobs give equal text."""
        settings = self.settings.model_dump(mode="json")
        own = {} if self.model is None else {"model": self.model.model_dump(mode="json")}
        return canonical({"cell": self.cell.axes(), "settings": settings, "dataset": self.dataset} | own)
