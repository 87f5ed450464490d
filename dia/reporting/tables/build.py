"""From the collected rows to the numbers of a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dia.attacks.stop_reasons import WITHOUT_ATTACK
from dia.reporting.intervals import NO_ESTIMATE, Estimate, bootstrap, success_rate
from dia.reporting.tables.best import mark_best
from dia.reporting.tables.compare import with_comparisons
from dia.reporting.tables.layout import Column, Entry, Key, Reference, Row, Table
from dia.reporting.tables.notes import notes
from dia.reporting.tables.reference import Published
from dia.reporting.tables.rows import read_rows, select, with_chance_levels
from dia.reporting.tables.spec import Metric, TableSpec

if TYPE_CHECKING:
    import pandas as pd


def build(
    name: str,
    spec: TableSpec,
    expected: "pd.DataFrame",
    results: str | Path,
    reason: Callable[[str], str] = lambda cell_id: "",
    published: Sequence[Published] = (),
) -> Table:
    """Compute a table.

    Args:
        name: The table's name.
        spec: Its declaration.
        expected: The cells of the complete grid, see ``expected_cells``.
        results: The collected Parquet file; only the columns in use are read.
        reason: Why a cell, given by its id, is missing.
        published: Numbers to show beside ours.

    Raises:
        RecordError: The file cannot be read, or holds cells that the grid does not have.
    """
    rows, planned = read_rows(results, spec), select(spec, expected)
    fitted = _without_absent_metrics(_with_scenarios_apart(spec, planned), rows)
    groups = _group(fitted, with_chance_levels(fitted, rows), planned)
    lines = _lines(fitted, groups, published)
    if fitted.compare:
        lines = with_comparisons(fitted, groups.rows, lines)
    sources = [p.source for p in published if any(p.belongs(groups.axes, key) for key in groups.all_keys())]
    return Table(
        name=name,
        title=fitted.title,
        caption=" ".join(fitted.caption.split()),
        axes=fitted.rows,
        headings=tuple(fitted.labels.get(axis, axis) for axis in fitted.rows),
        columns=groups.columns,
        rows=mark_best(fitted, lines),
        notes=notes(fitted, planned, rows, reason, sources),
        compare=fitted.compare,
    )


def _with_scenarios_apart(spec: TableSpec, planned: "pd.DataFrame") -> TableSpec:
    """The declaration with scenarios down the table where a line would otherwise average over several.

    Scenarios differ in what clients do or attackers know: their mean says nothing about any of them.
    """
    axes = [*spec.rows, *spec.columns]
    if "scenario" in axes or (planned.groupby(axes)["scenario"].nunique() <= 1).all():
        return spec
    chance = spec.chance and spec.chance.model_copy(update={"by": ("scenario", *spec.chance.by)})
    best = spec.best and spec.best.model_copy(update={"within": ("scenario", *spec.best.within)})
    return spec.model_copy(update={"rows": ("scenario", *spec.rows), "chance": chance, "best": best})


def _without_absent_metrics(spec: TableSpec, rows: "pd.DataFrame") -> TableSpec:
    """The declaration without optional metrics that no row has."""
    present = tuple(m for m in spec.metrics if not m.optional or rows[m.column].notna().any())
    return spec.model_copy(update={"metrics": present})


@dataclass(frozen=True, slots=True)
class _Groups:
    """The rows of a table grouped by their key, the values of its axes: ``head`` down and ``column.raw`` across.

    Attributes:
        axes: The axes down and across.
        rows: Key -> rows of the results, chance levels included.
        planned: Key -> number of rows that the complete grid has; no chance levels.
        heads: The keys down, in the table's order.
        columns: The columns across, in the table's order.
    """

    axes: tuple[str, ...]
    rows: "dict[Key, pd.DataFrame]"
    planned: dict[Key, int]
    heads: tuple[Key, ...]
    columns: tuple[Column, ...]

    def all_keys(self, head: Key | None = None) -> list[Key]:
        """All keys of the table, or those of one line."""
        heads = self.heads if head is None else (head,)
        across = dict.fromkeys(column.raw for column in self.columns)
        return [line + column for line in heads for column in across]

    def count(self, head: Key) -> tuple[int, int | None]:
        """The rows behind a line, without failed victims, and those planned; no plan asks for chance levels: None."""
        keys = self.all_keys(head)
        planned = [key for key in keys if key in self.planned]
        found = sum(_not_failed(self.rows[key]) for key in planned or keys if key in self.rows)
        return found, sum(self.planned[key] for key in planned) if planned else None


def _not_failed(rows: "pd.DataFrame") -> int:
    return int((~rows["stop_reason"].str.startswith(WITHOUT_ATTACK)).sum())


def _group(spec: TableSpec, rows: "pd.DataFrame", planned: "pd.DataFrame") -> _Groups:
    axes = spec.rows + spec.columns
    found = {_as_key(key): group for key, group in rows.groupby([*axes], sort=False)}
    victims = planned.groupby([*axes], sort=False)["victims"].sum()
    totals = {_as_key(key): int(total) for key, total in victims.items()}
    keys, split = _sorted_keys(spec, [*totals, *found]), len(spec.rows)
    columns = tuple(
        Column(across, _printed(spec, spec.columns, across), metric)
        for across in dict.fromkeys(key[split:] for key in keys)
        for metric in spec.metrics
    )
    return _Groups(axes, found, totals, tuple(dict.fromkeys(key[:split] for key in keys)), columns)


def _as_key(key: Any) -> Key:
    """A key as a tuple, also of one axis."""
    return key if isinstance(key, tuple) else (key,)


def _sorted_keys(spec: TableSpec, keys: Sequence[Key]) -> list[Key]:
    """Keys without repeats: names in the grid's order, numbers in ascending order, chance levels last."""
    chance = list(spec.chance.levels.values()) if spec.chance else []
    rank: list[dict[Any, int]] = []
    for position, axis in enumerate(spec.rows + spec.columns):
        values = list(dict.fromkeys(key[position] for key in keys))
        first = [v for v in values if not (v == "" or (axis == "attack" and v in chance))]
        if axis == "dropout_rate" or all(isinstance(v, int | float | np.number) for v in first):
            first.sort(key=float)
        rank.append({value: number for number, value in enumerate([*first, *chance, ""])})
    return sorted(dict.fromkeys(keys), key=lambda key: [r[v] for r, v in zip(rank, key, strict=True)])


def _lines(spec: TableSpec, groups: _Groups, published: Sequence[Published]) -> list[Row]:
    """The table's rows, top down, not yet compared and none in bold."""
    lines = []
    for head in groups.heads:
        entries = []
        for column in groups.columns:
            key = head + column.raw
            shown = _reference(column.metric, groups.axes, key, published)
            entries.append(Entry(column, _estimate(column.metric, groups.rows.get(key)), reference=shown))
        found, planned = groups.count(head)
        lines.append(Row(head, _printed(spec, spec.rows, head), tuple(entries), found, planned))
    return lines


def _printed(spec: TableSpec, axes: Sequence[str], key: Key) -> tuple[str, ...]:
    """The names that the table has for the values of axes."""
    return tuple(spec.values.get(a, {}).get(str(v), str(v)) for a, v in zip(axes, key, strict=True))


def _reference(
    metric: Metric, axes: tuple[str, ...], key: Key, published: Sequence[Published]
) -> Reference | None:
    """The published number to show beside a metric, the first one that fits."""
    found = (p.reference for p in published if p.column == metric.column and p.belongs(axes, key))
    return next(found, None)


def _estimate(metric: Metric, group: "pd.DataFrame | None") -> Estimate:
    """A metric of the rows of a key, with the interval that it asks for."""
    if group is None:
        return NO_ESTIMATE
    values = group[metric.column].to_numpy(dtype=float)
    if metric.interval == "wilson":
        return success_rate(values, group["batch_size"].to_numpy())
    estimate = bootstrap(values, group["seed"].to_numpy(), metric.statistic)
    return Estimate(estimate.value, np.nan, np.nan) if metric.interval == "none" else estimate
