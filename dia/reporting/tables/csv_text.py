"""A table as CSV."""

import csv
import io
import math

from dia.reporting.tables.layout import Row, Table


def csv_text(table: Table) -> str:
    """Plain numbers for further work, each in a column of its own; empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*table.axes, *_headings(table), "n", "n_expected"])
    for row in table.rows:
        numbers = ["" if math.isnan(x) else f"{x:.6g}" for x in _numbers(row, table)]
        writer.writerow([*row.raw, *numbers, row.n, "" if row.expected is None else row.expected])
    return out.getvalue()


def _headings(table: Table) -> list[str]:
    """Each column's name with a suffix for each of its numbers, then those of the comparison."""
    heads = []
    for column, published in zip(table.columns, table.referenced(), strict=True):
        name = "_".join([*map(str, column.raw), column.metric.column])
        suffixes = ("", "_low", "_high", *(("_published_low", "_published_high") if published else ()))
        heads += [f"{name}{suffix}" for suffix in suffixes]
    if table.compare is None:
        return heads
    difference = f"{table.compare.column}_difference"
    return [*heads, difference, f"{difference}_low", f"{difference}_high", "p_value", "pairs"]


def _numbers(row: Row, table: Table) -> list[float]:
    """The numbers of a row below these headings; NaN where there is none."""
    numbers: list[float] = []
    for entry, published in zip(row.entries, table.referenced(), strict=True):
        numbers += entry.estimate
        if published:
            numbers += [entry.reference.low, entry.reference.high] if entry.reference else [math.nan] * 2
    if table.compare:
        c = row.comparison
        numbers += [*c.difference, c.p_value, c.pairs] if c else [math.nan] * 5
    return numbers
