"""Which numbers of a table are set in bold."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dia.reporting.tables.layout import Key, Row
from dia.reporting.tables.spec import TableSpec


def mark_best(spec: TableSpec, columns: Sequence[Key], lines: Sequence[tuple[Key, Row]]) -> tuple[Row, ...]:
    """Mark the best of each group of competitors; equal as printed is equal, and where all are, none is best.

    Args:
        spec: The table's declaration.
        columns: The key across of each block of metrics.
        lines: The key down of each row, and the row.
    """
    if spec.best is None:
        return tuple(row for _, row in lines)
    axes, metrics = spec.rows + spec.columns, len(spec.metrics)
    groups: dict[Key, list[tuple[int, int]]] = {}
    for line, (head, row) in enumerate(lines):
        for number, entry in enumerate(row.entries):
            key = dict(zip(axes, head + columns[number // metrics], strict=True))
            competes = all(str(key[axis]) in names for axis, names in spec.best.among.items())
            chance = spec.chance is not None and key["attack"] in spec.chance.levels.values()
            if competes and not chance and not np.isnan(entry.estimate.value):
                group = (number % metrics, *(key[axis] for axis in spec.best.within))
                groups.setdefault(group, []).append((line, number))
    best = set()
    for (position, *_), places in groups.items():
        metric = spec.metrics[position]
        if metric.better is None:
            continue
        values = [lines[line][1].entries[number].estimate.value for line, number in places]
        winner = format(max(values) if metric.better == "higher" else min(values), metric.format)
        winners = {p for p, v in zip(places, values, strict=True) if format(v, metric.format) == winner}
        best |= winners if len(winners) < len(places) else set()
    marked = []
    for line, (_, row) in enumerate(lines):
        entries = (replace(entry, best=(line, number) in best) for number, entry in enumerate(row.entries))
        marked.append(replace(row, entries=tuple(entries)))
    return tuple(marked)
