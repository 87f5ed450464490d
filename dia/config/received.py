"""Received datasets of a config: split into the updates of single cells, with a description and hashes of their files.

A part is a dataset like any other, so that a folder of updates spans cells as an axis does. Its definition has the
hash of every file: when one changes, the cells of its part run again and no others.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dia.attacks.registry import ATTACKS
from dia.config.grid import Grid, Scenario
from dia.datasets.specs import DatasetBase, Received
from dia.errors import ConfigError
from dia.inversion.settings_file import InversionSettings
from dia.settings.defences import DefenceSettings
from dia.settings.federated import TrainingSettings
from dia.settings.scenario import Settings
from dia.utils.files import file_sha256
from dia.utils.paths import TENSOR_SUFFIXES, expanded
from dia.utils.validation_errors import validate_model
from dia.utils.yaml_file import read_yaml

if TYPE_CHECKING:
    from dia.config.config import Config

OF_SIMULATED_CLIENTS = (
    *TrainingSettings.model_fields,
    *DefenceSettings.model_fields,
    "client_mask_seed_space",
    "dropout_sites",
)
"""Settings that say what dia's own clients do, and so nothing about those who sent the updates."""


def split_received(config: "Config") -> tuple[dict[str, Any], list[str]]:
    """Split every received dataset into parts ``NAME-000``, ``NAME-001``, ..., in the grids as well.

    Returns:
        The config's keys that change, and what is wrong with files and descriptions, whose datasets stay whole.
    """
    parts, faults = dict[str, dict[str, DatasetBase]](), list[str]()
    for name, spec in config.datasets.items():
        parts[name] = {name: spec}
        if isinstance(spec, Received) and spec.contents is None:
            try:
                parts[name] = {f"{name}-{number:03d}": part for number, part in enumerate(_parts(spec))}
            except ConfigError as error:
                faults.append(f"datasets.{name}: {error}")
    names = [part for of_dataset in parts.values() for part in of_dataset]
    faults += [f"datasets.{name}: also the name of a part" for name in set(names) if names.count(name) > 1]
    if list(config.datasets) == names:
        return {}, faults

    def split(grid: Grid) -> Grid:
        found = tuple(part for name in grid.datasets for part in parts.get(name, (name,)))
        return grid.model_copy(update={"datasets": found})

    datasets = {name: part for of_dataset in parts.values() for name, part in of_dataset.items()}
    return {"datasets": datasets, "grids": tuple(map(split, config.grids))}, faults


def _parts(spec: Received) -> Iterator[Received]:
    """The dataset as one for every cell.

    Raises:
        ConfigError: Files are missing, or the description is not valid.
    """
    client = validate_model(InversionSettings, read_yaml(expanded(spec.settings), "settings"), spec.settings)
    files = [path for path in _files(spec.updates, "updates") if path.suffix in TENSOR_SUFFIXES]
    if not files:
        raise ConfigError(f"updates {spec.updates}: no file with one of {', '.join(TENSOR_SUFFIXES)}")
    if not expanded(spec.before).is_file():
        raise ConfigError(f"before {spec.before}: no such file")
    private = {} if spec.originals is None else {p.name: p for p in _files(spec.originals, "originals")}
    if foreign := sorted(set(private) - {path.with_suffix(".npz").name for path in files}):
        raise ConfigError(f"originals {spec.originals}: {foreign[0]} belongs to no update; name it after one")
    described, before = (
        client.model_dump(mode="json", exclude={"attack", "twin"}),
        file_sha256(expanded(spec.before)),
    )
    for first in range(0, len(files), spec.updates_per_cell):
        chosen = files[first : first + spec.updates_per_cell]
        known = {path.with_suffix(".npz").name for path in chosen} & set(private)
        contents = {
            "client": described,
            "before": before,
            "updates": {path.name: file_sha256(path) for path in chosen},
            "originals": {name: file_sha256(private[name]) for name in sorted(known)},
        }
        yield spec.model_copy(update={"contents": contents})


def _files(folder: str, what: str) -> list[Path]:
    if not Path(folder).is_dir():
        raise ConfigError(f"{what} {folder}: no such folder")
    return sorted(path for path in Path(folder).iterdir() if path.is_file() and not path.name.startswith("."))


def client_settings(spec: Received, settings: Settings) -> dict[str, Any]:
    """The settings of a cell that the description of its clients says."""
    assert spec.contents is not None
    client = InversionSettings.model_validate(spec.contents["client"])
    training = client.local_training
    return {
        "victims": min(settings.victims, len(spec.contents["updates"])),
        "batch_size": client.images,
        "attacker_labels": "inferred" if client.labels == "infer" else "known",
        "attacker_dropout_rate": "unknown" if client.dropout == "unknown" else "known",
        "local_epochs": training.epochs or 0,
        "local_batch_size": training.batch_size,
        **({"local_learning_rate": training.learning_rate} if training.epochs else {}),
    }


def received_faults(config: "Config") -> list[str]:
    """Grids that contradict the description of the clients whose updates they attack."""
    faults = []
    for index, grid in enumerate(config.grids):
        for name in grid.datasets:
            spec = config.datasets.get(name)
            if not isinstance(spec, Received) or spec.contents is None:
                continue
            if config.scenarios.get(grid.scenario) is not None:  # else that is another fault
                faults += [f"grids[{index}]: {fault}" for fault in _faults(config, grid, name, spec)]
    return list(dict.fromkeys(faults))


def _faults(config: "Config", grid: Grid, name: str, spec: Received) -> Iterator[str]:
    assert spec.contents is not None
    client = InversionSettings.model_validate(spec.contents["client"])
    for model in grid.models:
        if config.models.get(model) != client.model:
            yield (
                f"model {model!r} is not the one of {spec.settings}: copy its block `model` to models.NAME, and name "
                "it in the grid"
            )
        yield from _contradictions(config.scenarios[grid.scenario], model, spec)
    if isinstance(client.dropout, float):
        for rate in grid.dropout_rates:
            if float(rate) != client.dropout:
                yield f"dropout rate {rate}: {spec.settings} says dropout: {client.dropout:g}"
    for attack in grid.attacks:
        if reason := ATTACKS[attack].needs_a_simulation:
            yield f"attack {attack!r} cannot be used on received updates: {reason}"


def _contradictions(scenario: Scenario, model: str, spec: Received) -> Iterator[str]:
    """Settings that the scenario writes and that clients say otherwise."""
    exceptions = scenario.per_model.get(model)
    written = scenario.model_dump(include=set(Settings.model_fields), exclude_unset=True)
    written |= {} if exceptions is None else exceptions.model_dump(exclude_unset=True)
    said = client_settings(spec, Settings(**written))
    for key, value in written.items():
        if key in said and key != "victims" and said[key] != value:
            yield f"scenario writes {key}: {value}; {spec.settings} says {said[key]}: leave it out"
        if key in OF_SIMULATED_CLIENTS and value != Settings.model_fields[key].default:
            yield f"scenario writes {key}: {value}; clients who sent their updates were not simulated: leave it out"
