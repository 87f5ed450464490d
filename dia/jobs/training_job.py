"""What a trained model depends on, as one canonical text: cells with equal texts share a model."""

import hashlib
from dataclasses import dataclass
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from dia.errors import ConfigError
from dia.jobs.attack_job import AttackJob
from dia.models.custom import FingerprintedModel
from dia.settings.defences import DefenceSettings
from dia.settings.federated import FederatedSettings, TrainingSettings
from dia.settings.scenario import Settings
from dia.utils.canonical_json import canonical
from dia.utils.strict_model import StrictModel
from dia.utils.validation_errors import validate_model

SETTINGS = (
    *TrainingSettings.model_fields,
    *FederatedSettings.model_fields,
    *DefenceSettings.model_fields,
    "dropout_sites",
    "precision",
    "tf32",
)
"""The settings of a scenario that training depends on; attackers' settings do not enter."""


class _Parts(StrictModel):
    """The canonical text, parsed."""

    dataset_name: str
    model_name: str
    dropout_rate: str
    seed: int
    settings: dict[str, Any]
    dataset: dict[str, Any]
    model: FingerprintedModel | None = None


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One model to be trained.

    Attributes:
        dataset_name, model_name, dropout_rate, seed: The axes that it is of.
        settings: The settings of training; those that do not matter have their defaults.
        dataset: The definition of the dataset, without where the files are found.
        model: The definition of a user's own model; None for a built-in architecture.
    """

    dataset_name: str
    model_name: str
    dropout_rate: str
    seed: int
    settings: Settings
    dataset: dict[str, Any]
    model: FingerprintedModel | None = None

    @classmethod
    def of(cls, job: AttackJob) -> Self | None:
        """The model that a cell attacks; None where it is untrained."""
        if not job.settings.federated_rounds:
            return None
        settings = Settings.model_validate({name: getattr(job.settings, name) for name in SETTINGS})
        cell = job.cell
        return cls(cell.dataset, cell.model, cell.dropout_rate, cell.seed, settings, job.dataset, job.model)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the canonical text back.

        Raises:
            ConfigError: Not that text.
        """
        try:
            parts = TypeAdapter(_Parts).validate_json(text)
        except ValidationError as error:
            raise ConfigError(f"the training job is not valid: {error}") from None
        settings = validate_model(Settings, parts.settings, "the training job's settings")
        axes = (parts.dataset_name, parts.model_name, parts.dropout_rate, parts.seed)
        return cls(*axes, settings, parts.dataset, parts.model)

    def json(self) -> str:
        """The canonical text: sorted keys, no spaces. Equal jobs give equal text."""
        settings = self.settings.model_dump(mode="json", include=set(SETTINGS))
        parts: dict[str, Any] = {
            "dataset_name": self.dataset_name,
            "model_name": self.model_name,
            "dropout_rate": self.dropout_rate,
            "seed": self.seed,
            "settings": settings,
            "dataset": self.dataset,
        }
        if self.model is not None:
            parts["model"] = self.model.model_dump(mode="json")
        return canonical(parts)

    @property
    def name(self) -> str:
        """Where the model lies below ``models/``, without suffix: readable, and its own for every other job."""
        digest = hashlib.sha256(self.json().encode()).hexdigest()[:8]
        axes = f"{self.dataset_name}/{self.model_name}/p{self.dropout_rate}/seed{self.seed}"
        return f"{axes}/rounds{self.settings.federated_rounds}-{digest}"
