"""Choose the numbers of a table that are set in bold."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dia.reporting.tables.layout import Entry, Key, Row
from dia.reporting.tables.spec import Metric, TableSpec


def mark_best(spec: TableSpec, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Mark the best of each group of competitors; equal as printed is equal, and where all are, none is best."""
    values: dict[Key, list[float]] = defaultdict(list)
    metrics: dict[Key, Metric] = {}
    for row in rows:
        for entry in row.entries:
            if (group := _competition(spec, row, entry)) is not None:
                values[group].append(entry.estimate.value)
                metrics[group] = entry.column.metric
    best = {group: _best_text(metrics[group], competitors) for group, competitors in values.items()}

    def mark(row: Row, entry: Entry) -> Entry:
        group = _competition(spec, row, entry)
        printed = format(entry.estimate.value, entry.column.metric.format)
        return replace(entry, best=group is not None and best[group] == printed)

    return tuple(replace(row, entries=tuple(mark(row, entry) for entry in row.entries)) for row in rows)


def _competition(spec: TableSpec, row: Row, entry: Entry) -> Key | None:
    """The group in which an entry competes: its metric and its values of ``within``; None where it does not."""
    if spec.best is None or np.isnan(entry.estimate.value):
        return None
    key = dict(zip(spec.rows + spec.columns, row.raw + entry.column.raw, strict=True))
    if spec.chance is not None and key["attack"] in spec.chance.levels.values():
        return None
    if any(str(key[axis]) not in names for axis, names in spec.best.among.items()):
        return None
    return (entry.column.metric, *(key[axis] for axis in spec.best.within))


def _best_text(metric: Metric, values: Sequence[float]) -> str | None:
    """The best value as printed; None where neither end is better, or where all are printed alike."""
    if metric.better is None:
        return None
    best = format(max(values) if metric.better == "higher" else min(values), metric.format)
    return None if all(format(value, metric.format) == best for value in values) else best
