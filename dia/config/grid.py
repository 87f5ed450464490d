"""Scenarios and grids: named blocks of settings, and products of axes that span the cells."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from dia.attacks.registry import ATTACKS
from dia.jobs.cell import Cell
from dia.models.registry import MODELS
from dia.settings.optimisation import SearchSettings
from dia.settings.scenario import Settings
from dia.utils.patterns import LONGEST_NAME, NAME, RATE
from dia.utils.strict_model import StrictInt, StrictModel
from dia.utils.validation_errors import one_of, unknown_name_message


def _check_name(value: str) -> str:
    if not re.fullmatch(NAME, value):
        raise ValueError("a name has lower-case letters, digits, - and _, and starts with a letter or digit")
    if len(value) > LONGEST_NAME:
        raise ValueError(f"a name has at most {LONGEST_NAME} characters, because files are named after it")
    return value


def _check_rate(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f'a dropout rate is quoted, because its spelling names the files: write "{value}"')
    if not isinstance(value, str) or not re.fullmatch(RATE, value) or float(value) >= 1:
        raise ValueError('a dropout rate lies in [0, 1), written as a quoted decimal such as "0.25"')
    if len(value) > LONGEST_NAME:
        raise ValueError(
            f"a dropout rate has at most {LONGEST_NAME} characters, because files are named after it"
        )
    return value


def _check_model(value: str, info: ValidationInfo) -> str:
    """A built-in architecture, or a model of the config (which validation gets as its context)."""
    names = (*MODELS, *(info.context or {}).get(OWN_MODELS, ()))
    if value not in names:
        raise ValueError(unknown_name_message("model", value, names))
    return value


OWN_MODELS = "own models"
"""Key of the validation context: the names under ``models`` in the config."""

Name = Annotated[str, AfterValidator(_check_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME}$"})]
ModelName = Annotated[
    str,
    AfterValidator(_check_model),
    WithJsonSchema({"anyOf": [{"enum": list(MODELS)}, {"type": "string", "pattern": f"^{NAME}$"}]}),
]
AttackName = Annotated[
    str,
    AfterValidator(one_of("attack", ATTACKS)),
    WithJsonSchema({"type": "string", "enum": list(ATTACKS)}),
]
Rate = Annotated[
    str, BeforeValidator(_check_rate), WithJsonSchema({"type": "string", "pattern": f"^{RATE}$"})
]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**31)]


class Scenario(Settings):
    """A named block of settings, with exceptions for single models."""

    per_model: dict[ModelName, Settings] = Field(
        {},
        description="Exceptions for single models: model name -> any of the keys above.",
    )
    per_attack: dict[AttackName, SearchSettings] = Field(
        {},
        description="Exceptions for single attacks: attack name -> any of the settings of the optimisation, from "
        "max_iterations on. They win over per_model; clients and victims stay the same for all attacks.",
    )


class Grid(StrictModel):
    """The product of its axes, in one scenario. Every axis has at least one value."""

    scenario: Name = Field("default", description="Name of one of the scenarios.")
    datasets: tuple[Name, ...] = Field(min_length=1, description="Names of datasets defined above.")
    models: tuple[ModelName, ...] = Field(
        min_length=1, description="Names of architectures, or of models defined above."
    )
    dropout_rates: tuple[Rate, ...] = Field(
        min_length=1, description='Dropout rates p in [0, 1) as quoted decimals, e.g. "0.25".'
    )
    attacks: tuple[AttackName, ...] = Field(min_length=1, description="Names of attacks.")
    seeds: tuple[Seed, ...] = Field(
        min_length=1,
        description="Whole numbers in [0, 2^31): weights, masks and starting images derive from them.",
    )

    def cells(self) -> list[Cell]:
        """The cells of this grid; the last axis varies fastest."""
        return [
            Cell(self.scenario, dataset, model, rate, attack, seed)
            for dataset in self.datasets
            for model in self.models
            for rate in self.dropout_rates
            for attack in self.attacks
            for seed in self.seeds
        ]
