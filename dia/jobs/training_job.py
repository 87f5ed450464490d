"""Everything that a trained model depends on, as one canonical text: cells with equal texts share a model."""

import hashlib
from typing import Any, Self

from pydantic import ConfigDict

from dia.jobs.attack_job import AttackJob
from dia.models.custom import FingerprintedModel
from dia.settings.defences import DefenceSettings
from dia.settings.federated import FederatedSettings, TrainingSettings
from dia.settings.scenario import Settings
from dia.utils.canonical_json import canonical
from dia.utils.strict_model import StrictModel
from dia.utils.validation_errors import validate_json

SETTINGS = (
    *TrainingSettings.model_fields,
    *FederatedSettings.model_fields,
    *DefenceSettings.model_fields,
    "dropout_sites",
    "precision",
    "tf32",
)
"""The settings of a scenario that training depends on; attackers' settings do not enter."""


class TrainingJob(StrictModel):
    """One model to be trained.

    Attributes:
        dataset_name, model_name, dropout_rate, seed: The axes of the cells that attack it.
        settings: The settings of training; those that do not matter have their defaults.
        dataset: The definition of the dataset, without where the files are found.
        model: The definition of a user's own model; None for a built-in architecture.
    """

    model_config = ConfigDict(protected_namespaces=())  # else pydantic 2.9 warns of the field model_name

    dataset_name: str
    model_name: str
    dropout_rate: str
    seed: int
    settings: Settings
    dataset: dict[str, Any]
    model: FingerprintedModel | None = None

    @classmethod
    def from_attack(cls, job: AttackJob) -> Self | None:
        """The model that a cell attacks; None where it is untrained."""
        if not job.settings.federated_rounds:
            return None
        return cls(
            dataset_name=job.cell.dataset,
            model_name=job.cell.model,
            dropout_rate=job.cell.dropout_rate,
            seed=job.cell.seed,
            settings=Settings.model_validate({name: getattr(job.settings, name) for name in SETTINGS}),
            dataset=job.dataset,
            model=job.model,
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the canonical text back.

        Raises:
            ConfigError: Not JSON, or a part is missing or not valid.
        """
        return validate_json(cls, text, "the training job")

    def canonical_json(self) -> str:
        """The canonical text: sorted keys, no spaces. Equal jobs give equal text."""
        parts = self.model_dump(mode="json", exclude={"model"} if self.model is None else None)
        return canonical(parts | {"settings": {name: parts["settings"][name] for name in SETTINGS}})

    @property
    def name(self) -> str:
        """The model's place below ``models/``, without suffix: readable, and its own for every other job."""
        digest = hashlib.sha256(self.canonical_json().encode()).hexdigest()[:8]
        axes = f"{self.dataset_name}/{self.model_name}/p{self.dropout_rate}/seed{self.seed}"
        return f"{axes}/rounds{self.settings.federated_rounds}-{digest}"
