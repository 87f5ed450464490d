"""The content of a table's YAML file; an unknown key is an error that names the known ones."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dia.results.columns import CHANCE, IDENTITY, SCORES, settings_columns
from dia.utils.paths import PathText
from dia.utils.strict_model import StrictBool, StrictModel
from dia.utils.validation_errors import unknown_name_message, validate_model
from dia.utils.yaml_file import read_yaml

TABLE_AXES: tuple[str, ...] = tuple(column.name for column in (*IDENTITY[1:], *settings_columns()))
"""Columns that may form rows and columns of a table: axes of the grid, and settings."""

DERIVED = {"iterations_per_second": ("iterations", "seconds")}
"""Measures computed from columns of the results: the first divided by the second."""

MEASURES: tuple[str, ...] = (
    *(c.name for c in SCORES + CHANCE if c.type in ("float64", "int64")),
    "peak_memory_mb",
    *DERIVED,
)
"""Columns that can be averaged."""


def _check_axis(name: str) -> str:
    if name not in TABLE_AXES:
        raise ValueError(unknown_name_message("axis", name, TABLE_AXES))
    return name


def _check_measure(name: str) -> str:
    if name not in MEASURES:
        raise ValueError(unknown_name_message("column", name, MEASURES))
    return name


def _check_format(text: str) -> str:
    try:
        format(0.5, text)
    except ValueError:
        raise ValueError('not a number format of Python: write for example ".3f", ".2g" or ".0%"') from None
    return text


Axis = Annotated[str, AfterValidator(_check_axis)]


class Metric(StrictModel):
    """One number that sums up a group of rows."""

    column: Annotated[str, AfterValidator(_check_measure)] = Field(description="Column of the results.")
    label: str = Field(description="Its heading in the table.")
    statistic: Literal["mean", "median"] = Field("mean", description="mean or median over victims and seeds.")
    interval: Literal["bootstrap", "wilson", "none"] = Field(
        "bootstrap",
        description="95% interval: bootstrap over seeds and victims, wilson over images (success), or none.",
    )
    better: Literal["higher", "lower"] | None = Field(
        None, description="Which end is the attacker's success; null: neither, so nothing is set in bold."
    )
    format: Annotated[str, AfterValidator(_check_format)] = Field(
        ".3f", description="Python number format, such as .3f, .2g or .0%."
    )
    optional: StrictBool = Field(False, description="Leave the column out where no cell has the number.")

    @model_validator(mode="after")
    def _wilson_counts_images(self) -> Self:
        if self.interval == "wilson" and (self.column != "success" or self.statistic != "mean"):
            raise ValueError("interval wilson is for the mean of the column success only")
        return self


class Chance(StrictModel):
    """Chance levels beside the attacks: the scores of guesses that use no gradient."""

    by: tuple[Axis, ...] = Field(
        description="Axes that a chance level is given for; it shows a dash at the table's other axes."
    )
    levels: dict[Literal["mean_image", "same_class"], str] = Field(
        min_length=1,
        description="mean_image: the victim set's mean image; same_class: another image of the same class. "
        "Each with its name in the table.",
    )


class BoldRule(StrictModel):
    """The numbers that compete for bold."""

    within: tuple[Axis, ...] = Field(description="Axes that competitors agree in.")
    among: dict[Axis, tuple[str, ...]] = Field(
        {}, description="Competitors by axis, for example attack: [ig, dia]; all where an axis is not named."
    )


class Compare(StrictModel):
    """A paired test of each row against another one."""

    axis: Axis = Field(description="Axis in which the two rows differ, for example attack.")
    to: str = Field(description="Its value in the row that the others are compared to, for example ig.")
    column: Annotated[str, AfterValidator(_check_measure)] = Field(description="Column of the results.")
    label: str = Field(description="Heading of the column of comparisons.")
    format: Annotated[str, AfterValidator(_check_format)] = Field(
        "+.3f", description="Python number format of the mean difference."
    )


class TableSpec(StrictModel):
    """One table."""

    title: str = Field(min_length=1, description="The table's title.")
    caption: str = Field("", description="What the reader must know to read it.")
    where: dict[Axis, tuple[str | int | float | bool, ...]] = Field(
        {}, description="Keep only cells whose axis or setting has one of these values."
    )
    rows: tuple[Axis, ...] = Field(
        min_length=1, description="Axes down the table, the last one varying fastest."
    )
    columns: tuple[Axis, ...] = Field((), description="Axes across the table, metrics inside them.")
    metrics: tuple[Metric, ...] = Field(min_length=1, description="The numbers of each group.")
    chance: Chance | None = Field(None, description="Chance levels to show; null: none.")
    best: BoldRule | None = Field(None, description="Which numbers compete for bold; null: none are bold.")
    compare: Compare | None = Field(None, description="Paired test between rows; null: none.")
    reference_values: PathText | None = Field(
        None,
        description="CSV file of published numbers to show beside ours, relative to this file; null: none.",
    )
    labels: dict[Axis, str] = Field({}, description="Headings of axes.")
    values: dict[Axis, dict[str, str]] = Field({}, description="Names of an axis's values in the table.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        axes = self.rows + self.columns
        if len(set(axes)) != len(axes):
            raise ValueError("an axis occurs twice in rows and columns")
        shown = {"chance.by": self.chance.by if self.chance else ()}
        shown |= {"best.within": self.best.within if self.best else ()}
        for key, names in shown.items():
            if absent := [name for name in names if name not in axes]:
                raise ValueError(f"{key}: {', '.join(absent)} is not among rows and columns")
        if self.chance and ("attack" not in axes or "attack" in self.chance.by):
            raise ValueError(
                "chance levels stand beside the attacks: attack must be in rows or columns, not in by"
            )
        if self.compare and (self.columns or self.compare.axis not in self.rows):
            raise ValueError("compare is for tables without columns whose rows have its axis")
        return self

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read and validate a table's YAML file.

        Raises:
            ConfigError: The file is missing, not YAML, or not a valid table; every fault is named.
        """
        return validate_model(cls, read_yaml(path, "table"), str(path))
