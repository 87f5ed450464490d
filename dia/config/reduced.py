"""Any config at a reduced size: the same scenarios, models and attacks, on offline data and in minutes.

``snakemake --configfile FILE --config reduced=true`` applies ``config/reduced.yaml`` to the config that it names. The
reduced config is a config like any other, called ``<name>-reduced``, so that the two never share a file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from dia.config.config import Config
from dia.config.grid import Name, Rate, Seed
from dia.config.switches import take_switch
from dia.datasets.registry import DatasetSpec
from dia.datasets.specs import ImageDataset
from dia.settings.scenario import Settings
from dia.utils.strict_model import StrictFloat, StrictInt, StrictModel
from dia.utils.validation_errors import unknown_name_message, validate_model
from dia.utils.yaml_file import read_yaml

SWITCH = "reduced"
"""The key of ``--config`` that asks for it."""

Bounds = dict[str, StrictInt | StrictFloat]


class Axes(StrictModel):
    """The values of an axis that are kept; where a grid has none of them, its first value stays."""

    dropout_rates: tuple[Rate, ...] = Field(min_length=1, description="Dropout rates, quoted decimals.")
    seeds: tuple[Seed, ...] = Field(min_length=1, description="Seeds.")


class Reduction(StrictModel):
    """The changes that make a config small."""

    datasets: dict[Name, DatasetSpec] = Field(
        {}, description="Source of a dataset -> the definition that stands in for it; other sources stay."
    )
    images: StrictInt = Field(
        ge=1, description="Most images of a victim set, unless the victims of a cell need more. At least 1."
    )
    axes: Axes = Field(description="Values of the grids' axes that are kept.")
    settings: Bounds = Field({}, description="Numeric setting -> the largest value that it keeps.")
    per_model: dict[Name, Bounds] = Field({}, description="Model name -> tighter bounds, likewise.")

    @model_validator(mode="after")
    def _bounds_are_of_numbers(self) -> Self:
        numeric = [k for k, v in Settings().model_dump().items() if type(v) in (int, float)]
        for where, bounds in (("settings", self.settings), *self.per_model.items()):
            for key in bounds:
                if key not in numeric:
                    raise ValueError(f"{where}: {unknown_name_message('numeric setting', key, numeric)}")
        return self

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read and validate the YAML file.

        Raises:
            ConfigError: The file is missing, not YAML, or not a valid reduction.
        """
        return validate_model(cls, read_yaml(path, "reduction"), str(path))


def load(mapping: Mapping[str, Any], origin: str, reduction: str | Path) -> Config:
    """Validate a config; where it says ``reduced: true`` beside its own keys, return the reduced one.

    Args:
        mapping: The parsed YAML, perhaps with the switch.
        origin: What errors name as the place.
        reduction: The file that says what makes a config small.

    Raises:
        ConfigError: The config, the switch or the reduction is wrong.
    """
    is_on, plain = take_switch(mapping, SWITCH, origin)
    config = Config.load(plain, origin)
    return reduced(config, Reduction.from_file(reduction)) if is_on else config


def reduced(config: Config, reduction: Reduction) -> Config:
    """The reduced form of a valid config."""
    mapping = config.model_dump(mode="json", exclude_unset=True)
    mapping["name"] = f"{config.name}-{SWITCH}"
    mapping.setdefault("scenarios", {name: {} for name in config.scenarios})
    most_images = {name: reduction.images for name in config.datasets}
    for grid, given in zip(mapping["grids"], config.grids, strict=True):
        for axis in Axes.model_fields:
            grid[axis] = _kept(getattr(given, axis), getattr(reduction.axes, axis))
        exceptions = mapping["scenarios"][given.scenario].setdefault("per_model", {})
        for model in given.models:
            by_attack = [config.settings_of(given.scenario, model, attack) for attack in given.attacks]
            bounded = {
                key: min(bound, *(getattr(settings, key) for settings in by_attack))
                for key, bound in (reduction.settings | reduction.per_model.get(model, {})).items()
            }
            exceptions.setdefault(model, {}).update(bounded)
            needed = Settings(**by_attack[0].model_dump() | bounded)
            for name in given.datasets:
                most_images[name] = max(most_images[name], needed.victims * needed.batch_size)
        # An attack's own exceptions win over those of models, so they are bounded too.
        for settings in mapping["scenarios"][given.scenario].get("per_attack", {}).values():
            for bounds in (
                reduction.settings,
                *(reduction.per_model.get(model, {}) for model in given.models),
            ):
                settings.update(
                    {key: min(settings[key], bounds[key]) for key in settings.keys() & bounds.keys()}
                )
    for name, dataset in config.datasets.items():
        if dataset.source in reduction.datasets:
            stand_in = reduction.datasets[dataset.source]
            mapping["datasets"][name] = stand_in.model_dump(mode="json", exclude_unset=True)
        if isinstance(dataset, ImageDataset):
            mapping["datasets"][name]["images"] = min(dataset.images, most_images[name])
    return Config.load(mapping, f"{config.name}, reduced")


def _kept(values: Sequence[Any], wanted: Sequence[Any]) -> list[Any]:
    """The values of an axis to keep; rates are compared as numbers, however they are spelt."""
    numbers = set(map(float, wanted))
    return [value for value in values if float(value) in numbers] or list(values[:1])
