"""The config file: a closed description of datasets, scenarios and grids, and the cells that it spans.

Light to import (pydantic and yaml only): every job parses the workflow, and the workflow its config, with it.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema

from dia.config.grid import OWN_MODELS, Grid, Name, Scenario
from dia.datasets.registry import DatasetSpec
from dia.jobs.cell import Cell
from dia.models.custom import CustomModel, FingerprintedModel
from dia.models.dropout_sites import site_selector
from dia.models.registry import MODELS
from dia.settings.scenario import Settings
from dia.utils.canonical_json import canonical
from dia.utils.files import read_yaml
from dia.utils.strict_model import StrictInt, StrictModel
from dia.utils.validation_errors import config_error, one_of, validate_model


def _check_passes(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("must be auto or a whole number of at least 1")


Passes = Annotated[
    int | str,
    BeforeValidator(_check_passes),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
]


INEFFECTIVE_UNLESS = {
    "local_batch_size": ("local_epochs", 0),
    "local_learning_rate": ("local_epochs", 0),
    "final_learning_rate": ("learning_rate_schedule", "plateau"),
    "tv_initial_factor": ("tv_weight", 0),
    "tv_decay_iterations": ("tv_initial_factor", 1),
    "lbfgs_history_size": ("lbfgs_start_iteration", None),
}
"""Setting -> another, and the value of that other at which the first does nothing."""


class Execution(StrictModel):
    """How cells are run; none of this changes their numbers or reruns them."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where attacks run: auto (CUDA if there is any, else CPU), cpu or cuda (fail without).",
    )
    threads: Annotated[StrictInt, Field(ge=1, le=1024)] = Field(
        1, description="CPU threads of one cell's job. 1 to 1024; more only pays where cores are idle."
    )
    victims_per_chunk: Passes = Field(
        "auto",
        description="Victims attacked together: auto (as many as memory allows) or a number of at least 1.",
    )


class Tracking(StrictModel):
    """Where MLflow keeps the runs."""

    uri: str | None = Field(
        None, min_length=1, description="MLflow tracking URI; null: SQLite file mlflow.db beside the results."
    )
    experiment: str | None = Field(
        None, min_length=1, description="MLflow experiment; null: named after the config."
    )


class Config(StrictModel):
    """Datasets, scenarios, grids, and what is made of the results."""

    name: Name = Field(
        description="Name of the config: lower-case letters, digits, - and _. Outputs are in results/<name>/."
    )
    datasets: dict[Name, DatasetSpec] = Field(
        min_length=1, description="The datasets by the names that the grids use."
    )
    models: dict[Name, CustomModel] = Field(
        {},
        description="Your own torch models by the names that the grids use, beside the built-in architectures.",
    )
    scenarios: dict[Name, Scenario] = Field(
        {"default": Scenario()},
        min_length=1,
        description="Settings of client and attacker by the names that the grids use.",
    )
    grids: tuple[Grid, ...] = Field(min_length=1, description="The grids; together they list each cell once.")
    execution: Execution = Field(Execution(), description="How cells are run, outside their identity.")
    tables: tuple[Name, ...] = Field(
        ("dropout",), description="Tables to make: names of definitions config/tables/<name>.yaml."
    )
    figures: tuple[Name, ...] = Field(
        ("reconstructions", "rates", "curves", "masks", "victims"),
        description="Figures to draw: names of what `dia figures` draws.",
    )
    tracking: Tracking = Field(Tracking(), description="Where MLflow keeps the runs, and their experiment.")

    @classmethod
    def load(cls, mapping: Mapping[str, Any], origin: str = "config") -> Self:
        """Validate a config.

        Args:
            mapping: The parsed YAML.
            origin: What errors name as the place, usually the file.

        Raises:
            ConfigError: Anything is wrong; the message lists every fault with key, value and what is allowed.
        """
        own = mapping.get("models") if isinstance(mapping, Mapping) else None
        config = validate_model(
            cls, mapping, origin, {OWN_MODELS: tuple(own) if isinstance(own, Mapping) else ()}
        )
        if faults := [
            *config._undefined_names(),
            *config._unknown_sites(),
            *config._too_few_images(),
            *config._ineffective_settings(),
            *config._duplicates(),
        ]:
            raise config_error(origin, faults)
        return config

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read and validate a YAML (or JSON) config file.

        Raises:
            ConfigError: The file is missing, not YAML, or not a valid config.
        """
        return cls.load(read_yaml(path, "config"), str(path))

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, grid by grid."""
        return tuple(cell for grid in self.grids for cell in grid.cells())

    @property
    def results(self) -> Path:
        """Where this config's outputs go, relative to the working directory."""
        return Path("results", self.name)

    def cell_path(self, cell: Cell) -> Path:
        """The result file of one cell."""
        return self.results / "cells" / cell.path

    def attempt_path(self, cell: Cell) -> Path:
        """Where the attack on a cell notes how far it is."""
        return self.results / "logs" / "attack" / f"{cell.id}.json"

    def dataset(self, name: str) -> DatasetSpec:
        """The definition of a dataset of the config."""
        return self.datasets[name]

    def model(self, name: str) -> FingerprintedModel | None:
        """A model of the config, as its files are when this is first asked; None for a built-in architecture."""
        return self._pinned.get(name)

    @cached_property
    def _pinned(self) -> dict[str, FingerprintedModel]:
        return {name: own.pinned() for name, own in self.models.items()}

    def settings(self, cell: Cell) -> Settings:
        """The settings of a cell: its scenario's, with the exceptions for its model."""
        return self.settings_of(cell.scenario, cell.model)

    def settings_of(self, scenario: str, model: str) -> Settings:
        """The settings of a scenario, with the exceptions for a model."""
        return self._settings[scenario, model]

    @cached_property
    def _settings(self) -> dict[tuple[str, str], Settings]:
        resolved = {}
        for name, scenario in self.scenarios.items():
            common = scenario.model_dump(exclude={"per_model"})
            for model in (*MODELS, *self.models):
                exceptions = scenario.per_model.get(model, Settings()).model_dump(exclude_unset=True)
                resolved[name, model] = Settings(**common | exceptions)
        return resolved

    def identity(self) -> str:
        """Canonical JSON of what the cells are: a valid config without execution, tables, figures and tracking."""
        return canonical(
            self.model_dump(
                mode="json", exclude={"execution", "tables", "figures", "tracking"}, exclude_unset=True
            )
        )

    def _undefined_names(self) -> list[str]:
        """Names in the grids that nothing defines."""
        faults = []
        for index, grid in enumerate(self.grids):
            for key, names, defined in (
                ("scenario", (grid.scenario,), self.scenarios),
                ("datasets", grid.datasets, self.datasets),
            ):
                check = one_of(key.removesuffix("s"), tuple(defined))
                for name in names:
                    try:
                        check(name)
                    except ValueError as error:
                        faults.append(f"grids[{index}].{key}: {error}")
        return faults

    def _unknown_sites(self) -> list[str]:
        """Own models that take the name of an architecture, and dropout sites that an architecture does not have."""
        faults = [
            f"models.{name}: {name} is a built-in architecture; choose another name"
            for name in self.models
            if name in MODELS
        ]
        for index, grid in enumerate(self.grids):
            for model in grid.models:
                settings = self._settings.get((grid.scenario, model))
                try:
                    site_selector(model, settings.dropout_sites if settings else "default")
                except ValueError as error:
                    faults.append(f"grids[{index}]: scenario {grid.scenario!r}: {error}")
        return faults

    def _too_few_images(self) -> list[str]:
        """Grids whose victims need more images than their dataset has."""
        faults = []
        for index, grid in enumerate(self.grids):
            for dataset in set(grid.datasets) & set(self.datasets):
                for model in grid.models:
                    settings = self._settings.get((grid.scenario, model))
                    images = self.datasets[dataset].images
                    if settings is not None and settings.victims * settings.batch_size > images:
                        faults.append(
                            f"grids[{index}]: scenario {grid.scenario!r} takes {settings.victims} victims of "
                            f"{settings.batch_size} image(s) for model {model!r}, more than the {images} of "
                            f"datasets.{dataset}.images: raise that, or lower victims or batch_size"
                        )
        return faults

    def _ineffective_settings(self) -> list[str]:
        """Settings that others make idle: the rows would say what was not done."""
        faults, plain = [], Settings()
        for name, model in dict.fromkeys((grid.scenario, m) for grid in self.grids for m in grid.models):
            settings = self._settings.get((name, model), plain)
            for key, (needed, value) in INEFFECTIVE_UNLESS.items():
                idle = getattr(settings, needed) == value
                if idle and getattr(settings, key) != getattr(plain, key):
                    faults.append(
                        f"scenario {name!r}, model {model!r}: {key} means nothing while {needed} is "
                        f"{'null' if value is None else value}: "
                        f"set {needed}, or leave {key} out"
                    )
        return faults

    def _duplicates(self) -> list[str]:
        """Cells that are listed twice, also where only the spelling of the rate differs."""
        faults = []
        seen: dict[tuple[object, ...], tuple[int, Cell]] = {}
        for index, grid in enumerate(self.grids):
            for cell in grid.cells():
                key = (cell.scenario, cell.dataset, cell.model, cell.p, cell.attack, cell.seed)
                if key in seen:
                    before, twin = seen[key]
                    spelt = "" if twin == cell else f" (as {twin.id})"
                    faults.append(
                        f"grids[{index}]: duplicate cell {cell.id}, already in grids[{before}]{spelt}"
                    )
                seen.setdefault(key, (index, cell))
        return faults
