"""The jobs of a config: what each attack and each training is told."""

import hashlib

from dia.config.config import Config
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.jobs.training_job import TrainingJob
from dia.utils.canonical_json import canonical


def attack_job(config: Config, cell: Cell) -> AttackJob:
    """Everything that the attack on a cell is told."""
    dataset, own = config.dataset(cell.dataset), config.model(cell.model)
    return AttackJob.from_config(cell, config.settings(cell), dataset.model_dump(mode="json"), own)


def job_json(config: Config, cell: Cell) -> str:
    """The job of a cell as canonical text, the only parameter of the rule that attacks it."""
    return attack_job(config, cell).canonical_json()


def grid_hash(config: Config) -> str:
    """A short hash of what the jobs of a config follow from: the config itself and the files of its own models."""
    models = {
        name: own.source + (own.weights_sha256 or "") for name in config.models if (own := config.model(name))
    }
    return hashlib.sha256(f"{config.identity()}{canonical(models)}".encode()).hexdigest()[:12]


def training_jobs(config: Config) -> dict[str, TrainingJob]:
    """The models that the config's cells attack after training, by name; cells may share them."""
    jobs = (training_job(config, cell) for cell in config.cells)
    return {job.name: job for job in jobs if job is not None}


def training_job(config: Config, cell: Cell) -> TrainingJob | None:
    """The model that a cell attacks; None where it is untrained."""
    if not config.settings(cell).federated_rounds:
        return None
    return TrainingJob.from_attack(attack_job(config, cell))
