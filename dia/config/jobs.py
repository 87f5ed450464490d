"""The jobs of a config: what each attack and each training is told."""

from dia.config.config import Config
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.jobs.training_job import TrainingJob


def job_of(config: Config, cell: Cell) -> AttackJob:
    """All that the attack on a cell is told."""
    dataset, own = config.dataset(cell.dataset), config.model(cell.model)
    return AttackJob.of(cell, config.settings(cell), dataset.model_dump(mode="json"), own)


def job_json(config: Config, cell: Cell) -> str:
    """The job of a cell as canonical text, the only parameter of the rule that attacks it."""
    return job_of(config, cell).json()


def training_jobs(config: Config) -> dict[str, TrainingJob]:
    """The models that the config's cells attack after training, by name; cells may share them."""
    jobs = (trained_model(config, cell) for cell in config.cells)
    return {job.name: job for job in jobs if job is not None}


def trained_model(config: Config, cell: Cell) -> TrainingJob | None:
    """The model that a cell attacks; None where it is untrained."""
    if not config.settings(cell).federated_rounds:
        return None
    return TrainingJob.of(job_of(config, cell))
