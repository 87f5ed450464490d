"""A table as data: what every output format shares."""

from dataclasses import dataclass
from typing import Any

from dia.stats import NOTHING, Estimate
from dia.tables.spec import Metric

Key = tuple[Any, ...]
"""Values of axes, as the results have them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One number of a table.

    Attributes:
        estimate: The number with its interval; NaN where there is none.
        best: Whether it is the best of its competitors.
    """

    estimate: Estimate = NOTHING
    best: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        raw: The axes' values as the results have them, one for each of ``Table.axes``; empty where an axis
            has none.
        key: Their names in the table.
        entries: One for each of ``Table.columns``.
        n: Rows of the results behind it (victims, times seeds).
        expected: Rows that the complete grid has there; None for a chance level.
    """

    raw: Key
    key: tuple[str, ...]
    entries: tuple[Entry, ...]
    n: int
    expected: int | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column of numbers: values across and their names (none without such axes), and the metric."""

    raw: Key
    key: tuple[str, ...]
    metric: Metric


@dataclass(frozen=True, slots=True)
class Table:
    """A table, ready to be rendered.

    Attributes:
        name: File name without suffix.
        title: The title.
        caption: What the reader must know.
        axes: Names of the axes down the table.
        headings: Their headings.
        columns: Headings of the number columns.
        rows: The lines, top down.
        notes: Sentences below the table: completeness, intervals, settings.
    """

    name: str
    title: str
    caption: str
    axes: tuple[str, ...]
    headings: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
