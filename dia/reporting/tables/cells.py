"""The texts of a table's headings and cells, before a format escapes and marks them up."""

import math
from dataclasses import dataclass
from itertools import groupby

from dia.reporting.tables.layout import Entry, Row, Table

DASH = "\N{EN DASH}"
"""No number, or an axis that does not apply."""

SIGNIFICANT = 0.05
"""A comparison that could not reach a p-value this small, whatever the scores, shows none."""


@dataclass(frozen=True, slots=True)
class CellText:
    """Text of one cell, which each format assembles.

    Attributes:
        text: The text.
        bold: Whether it is bold.
        small: The interval that follows in small print; empty: none.
    """

    text: str
    bold: bool = False
    small: str = ""


def headings(table: Table, across: bool) -> list[str]:
    """Headings of all columns after the axes; with the values across in them, or without."""
    heads = []
    for column, published in zip(table.columns, table.referenced(), strict=True):
        heads.append(" ".join([*(column.key if across else ()), column.metric.label]))
        heads += ["published"] if published else []
    return [*heads, *([table.compare.label] if table.compare else []), "n"]


def value_cells(row: Row, table: Table) -> list[CellText]:
    """The cells of a row below :func:`headings`."""
    cells = []
    for entry, published in zip(row.entries, table.referenced(), strict=True):
        cells.append(_number(entry))
        cells += [CellText(_published(entry))] if published else []
    cells += [CellText(_comparison(row, table))] if table.compare else []
    return [*cells, CellText(str(row.n) if row.expected is None else f"{row.n}/{row.expected}")]


def key_cells(table: Table) -> list[tuple[str, ...]]:
    """The key of each row, where what repeats the row above is blank and a dash is where an axis does not apply."""
    keys, above = [], ("",) * len(table.axes)
    for row in table.rows:
        same = next((i for i, (a, b) in enumerate(zip(row.key, above, strict=True)) if a != b), 0)
        keys.append(("",) * same + tuple(name or DASH for name in row.key[same:]))
        above = row.key
    return keys


def spanning_headings(table: Table) -> list[list[tuple[str, int]]]:
    """For each axis across, its headings, each with the number of columns below it."""
    widths = [1 + published for published in table.referenced()]
    lines = []
    for depth in range(len(table.columns[0].key) if table.columns else 0):
        numbered = zip(table.columns, widths, strict=True)
        groups = groupby(numbered, key=lambda pair: pair[0].key[: depth + 1])
        lines.append([(key[-1] or DASH, sum(width for _, width in group)) for key, group in groups])
    return lines


def _number(entry: Entry) -> CellText:
    value, low, high = entry.estimate
    if math.isnan(value):
        return CellText(DASH)
    form = entry.column.metric.format
    without = entry.column.metric.interval == "none" or math.isnan(low)
    return CellText(format(value, form), entry.best, "" if without else f"[{low:{form}}, {high:{form}}]")


def _published(entry: Entry) -> str:
    if entry.reference is None:
        return DASH
    low, high, form = entry.reference.low, entry.reference.high, entry.column.metric.format
    return f"{low:{form}}" + ("" if low == high else f" to {high:{form}}")


def _comparison(row: Row, table: Table) -> str:
    if row.comparison is None or table.compare is None:
        return DASH
    p, (value, low, high) = row.comparison.p_value, row.comparison.difference
    form = table.compare.format
    shown = format(value, form) + ("" if math.isnan(low) else f" [{low:{form}}, {high:{form}}]")
    if row.comparison.smallest_p_value > SIGNIFICANT:
        return f"{shown} (n too small)"
    return f"{shown} ({'p-value < 0.001' if p < 0.001 else f'p-value {p:.2g}'})"
