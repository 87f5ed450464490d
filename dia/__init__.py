"""Dropout Inversion Attack: reconstruct a federated client's private images from a dropout gradient.

Importing this package imports no heavy library, because every cluster job parses the workflow and so imports it.
The public objects in ``__all__`` are imported when they are first used.
"""

from typing import Any

__version__ = "0.2.0"

_PUBLIC = {
    "AttackJob": "dia.jobs.attack_job:AttackJob",
    "Config": "dia.config.config:Config",
    "FedAvg": "dia.inversion.protocol:FedAvg",
    "FedSGD": "dia.inversion.protocol:FedSGD",
    "Inversion": "dia.inversion.result:Inversion",
    "Outcome": "dia.attacks.outcome:Outcome",
    "Problem": "dia.attacks.problem:Problem",
    "VictimSet": "dia.datasets.victim_set:VictimSet",
    "attack_job": "dia.config.jobs:attack_job",
    "build_experiment": "dia.evaluation.experiment:build_experiment",
    "get_attack": "dia.attacks.registry:get_attack",
    "image_scores": "dia.evaluation.metrics:scores",
    "invert": "dia.inversion.invert:invert",
    "make_victims": "dia.datasets.victim_selection:make_victims",
    "parse_dataset": "dia.datasets.registry:parse_dataset",
    "read_cell": "dia.results.cell_file:read_cell",
    "read_results": "dia.results.collected:read_results",
    "run_cell": "dia.execution.run_cell:run_cell",
    "read_update": "dia.federated.update_file:read_update",
    "score": "dia.inversion.result:score",
}
"""Name -> where it is written."""

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public object (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dia' has no attribute {name!r}")
    from dia.utils.lazy_import import load_object

    return load_object(_PUBLIC[name])


def __dir__() -> list[str]:
    return sorted(__all__)
