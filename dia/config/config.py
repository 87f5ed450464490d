"""The config file: a closed description of datasets, scenarios and grids, and the cells that it spans.

Light to import (pydantic and yaml only): every job parses the workflow, and the workflow its config, with it.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from dia.config.consistency import find_faults
from dia.config.grid import OWN_MODELS, Grid, Name, Scenario
from dia.config.received import client_settings, split_received
from dia.config.resolution import resolve_settings
from dia.config.valid_part import valid_part
from dia.datasets.registry import DatasetSpec
from dia.datasets.specs import Received
from dia.jobs.cell import Cell
from dia.models.custom import CustomModel, FingerprintedModel
from dia.settings.scenario import Settings
from dia.utils.canonical_json import canonical
from dia.utils.paths import PathText
from dia.utils.secrets import check_address
from dia.utils.strict_model import StrictBool, StrictInt, StrictModel
from dia.utils.validation_errors import config_error, validated
from dia.utils.yaml_file import read_yaml


def _check_victims_per_chunk(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("must be auto or a whole number of at least 1")


VictimsPerChunk = Annotated[
    int | str,
    BeforeValidator(_check_victims_per_chunk),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
]


def _check_compile(value: object) -> object:
    if value == "auto" or isinstance(value, bool):
        return value
    raise ValueError("must be auto, true or false")


class Execution(StrictModel):
    """Ways to run cells; none of them reruns any. Numbers may differ by rounding between these ways."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where attacks run: auto (CUDA if there is any, else CPU), cpu or cuda (fail without).",
    )
    threads: Annotated[StrictInt, Field(ge=1, le=1024)] = Field(
        1, description="CPU threads of one cell's job. 1 to 1024; more only pays where cores are idle."
    )
    victims_per_chunk: VictimsPerChunk = Field(
        "auto",
        description="Victims attacked together: auto (by device type and model: what 256 MiB of caches hold on a CPU, "
        "16 GiB or half of its memory on a GPU; halved when memory runs out, which the row's notes say) or a number of "
        "at least 1. It changes no number but by rounding, which float32 attacks amplify: SSIM by about 0.01. The rows "
        "have what was used.",
    )
    compile: Annotated[Literal["auto"] | StrictBool, BeforeValidator(_check_compile)] = Field(
        "auto",
        description="Whether the loss and its gradients are compiled into one graph by torch's inductor: true, false, "
        "or auto, which is to compile where that pays and compiles nothing yet. Needs a C++ compiler; without one, or "
        "where a model cannot be compiled, nothing is, and the rows say why. It changes no number but by rounding.",
    )
    compile_cache: PathText | None = Field(
        None,
        description="Folder of compiled graphs, shared by all cells, jobs and configs; null: dia/compiled in "
        "XDG_CACHE_HOME, else in ~/.cache. It may be deleted at any time.",
    )
    cuda_graph: StrictBool = Field(
        False,
        description="Whether the loss and its gradients are captured as a CUDA graph and replayed: true or false. "
        "Faster where a GPU waits for the CPU, as with few victims or small models. Never run on a GPU so far, so off. "
        "Where a graph cannot be captured, or a replay gives something else, none is used and the rows say why.",
    )


class Tracking(StrictModel):
    """The place where MLflow keeps the runs."""

    uri: Annotated[str, Field(min_length=1), AfterValidator(check_address)] | None = Field(
        None,
        description="MLflow tracking URI, without a password; null: MLFLOW_TRACKING_URI in the environment, else the "
        "SQLite file mlflow.db beside the results.",
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
    grids: tuple[Grid, ...] = Field(
        min_length=1,
        description="The grids, in the order that they run in; together they list each cell once.",
    )
    execution: Execution = Field(Execution(), description="How cells are run, outside their identity.")
    tables: tuple[Name, ...] = Field(
        ("dropout",), description="Tables to make: names of definitions config/tables/<name>.yaml."
    )
    figures: tuple[Name, ...] = Field(
        ("reconstructions", "rates", "curves", "masks", "victims", "scenarios"),
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
        context = {OWN_MODELS: tuple(own) if isinstance(own, Mapping) else ()}
        config, faults = validated(cls, mapping, context)
        if (partial := config or valid_part(cls, mapping, context)) is not None:
            split, missing = split_received(partial)
            config = config and config.model_copy(update=split)
            faults = [*faults, *missing, *find_faults(partial.model_copy(update=split))]
        if faults:
            raise config_error(origin, faults)
        assert config is not None  # it has no fault
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
        """The folder of this config's outputs, relative to the working directory."""
        return Path("results", self.name)

    def cell_path(self, cell: Cell) -> Path:
        """The result file of one cell."""
        return self.results / "cells" / cell.path

    def attempt_path(self, cell: Cell) -> Path:
        """The file in which the attack on a cell records its progress."""
        return self.results / "logs" / "attack" / f"{cell.id}.json"

    def dataset(self, name: str) -> DatasetSpec:
        """The definition of a dataset of the config."""
        return self.datasets[name]

    def model(self, name: str) -> FingerprintedModel | None:
        """A model of the config, as its files are when this is first asked; None for a built-in architecture."""
        return self._fingerprinted.get(name)

    @cached_property
    def _fingerprinted(self) -> dict[str, FingerprintedModel]:
        return {name: own.with_fingerprint() for name, own in self.models.items()}

    def settings(self, cell: Cell) -> Settings:
        """The settings of a cell; see :mod:`dia.config.resolution` and :mod:`dia.config.received`."""
        settings, spec = self.settings_of(cell.scenario, cell.model, cell.attack), self.datasets[cell.dataset]
        if not isinstance(spec, Received):
            return settings
        return settings.model_copy(update=client_settings(spec, settings))

    def settings_of(self, scenario: str, model: str, attack: str) -> Settings:
        """The settings of the cells of a scenario, a model and an attack."""
        key = (scenario, model, attack)
        if key not in self._settings:
            self._settings[key] = resolve_settings(self.scenarios[scenario], model, attack)
        return self._settings[key]

    @cached_property
    def _settings(self) -> dict[tuple[str, str, str], Settings]:
        """The settings resolved so far."""
        return {}

    def identity(self) -> str:
        """Canonical JSON of what the cells are: a valid config without execution, tables, figures and tracking."""
        return canonical(
            self.model_dump(
                mode="json", exclude={"execution", "tables", "figures", "tracking"}, exclude_unset=True
            )
        )
