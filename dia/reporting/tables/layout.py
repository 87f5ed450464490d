"""A table as data, independent of output formats."""

from dataclasses import dataclass
from typing import Any

from dia.reporting.intervals import Estimate
from dia.reporting.tables.spec import Compare, Metric

Key = tuple[Any, ...]
"""Values of axes, as the results have them."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A published number: a value (``low`` equals ``high``) or a range."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A row against another one, on the same private batches and seeds.

    Attributes:
        difference: Mean paired difference, this row's score less the other's, with its interval.
        p_value: Of the paired test, corrected for the number of comparisons in the table.
        pairs: Number of victims behind it.
        smallest_p_value: The smallest that so many victims, and the number of comparisons, could have given.
    """

    difference: Estimate
    p_value: float
    pairs: int
    smallest_p_value: float = 0.0


@dataclass(frozen=True, slots=True)
class Column:
    """One column of numbers: values across and their names (none without such axes), and the metric."""

    raw: Key
    key: tuple[str, ...]
    metric: Metric


@dataclass(frozen=True, slots=True)
class Entry:
    """One number of a table.

    Attributes:
        column: The column that it stands in.
        estimate: The number with its interval; NaN where there is none.
        best: Whether it is the best of its competitors.
        reference: The published number to show beside it, None where there is none.
    """

    column: Column
    estimate: Estimate
    best: bool = False
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        raw: The axes' values as the results have them, one for each of ``Table.axes``; empty where an axis
            has none.
        key: Their names in the table.
        entries: One for each of ``Table.columns``.
        n: Rows of the results behind it (victims, times seeds), without victims that failed.
        expected: Rows that the complete grid has there; None for a chance level.
        comparison: The row against another one; None where nothing is compared.
    """

    raw: Key
    key: tuple[str, ...]
    entries: tuple[Entry, ...]
    n: int
    expected: int | None
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table, ready to be rendered.

    Attributes:
        name: File name without suffix.
        title: The title.
        caption: Explanations that the reader needs.
        axes: Names of the axes down the table.
        headings: Their headings.
        columns: Headings of the number columns.
        rows: The lines, top down.
        notes: Sentences below the table: completeness, intervals, settings.
        compare: The declaration of the rows' comparisons; None where the table has none.
    """

    name: str
    title: str
    caption: str
    axes: tuple[str, ...]
    headings: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    compare: Compare | None = None

    def referenced(self) -> list[bool]:
        """For each of ``columns``, whether published numbers stand beside it."""
        return [any(row.entries[n].reference for row in self.rows) for n in range(len(self.columns))]
