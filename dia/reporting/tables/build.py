"""From the collected rows to the numbers of a table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dia.errors import RecordError
from dia.reporting.intervals import NO_ESTIMATE, Estimate, bootstrap, success_rate
from dia.reporting.tables.best import mark_best
from dia.reporting.tables.compare import PAIRED, with_comparisons
from dia.reporting.tables.layout import Column, Entry, Key, Reference, Row, Table
from dia.reporting.tables.notes import NOTED, notes
from dia.reporting.tables.reference import Published
from dia.reporting.tables.spec import DERIVED, MEASURES, Metric, TableSpec
from dia.results.collected import read_results
from dia.results.not_applicable import mask_not_applicable

if TYPE_CHECKING:
    import pandas as pd

_ALWAYS = ("cell_id", *PAIRED, "victim_id", "batch_size", "victims_sha256", "source_indices", *NOTED)


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
    needed = [*spec.rows, *spec.columns, *spec.where, *_measured(spec), *_ALWAYS]
    rows = _with_derived(mask_not_applicable(read_results(results, _read(needed)).to_pandas()))
    if foreign := sorted(set(rows["cell_id"]) - set(expected["cell_id"])):
        raise RecordError(
            f"{results}: {len(foreign)} cells are not in the config, such as {foreign[0]}; collect again"
        )
    for axis, values in spec.where.items():
        rows, expected = rows[rows[axis].isin(values)], expected[expected[axis].isin(values)]
    spec = _scenarios_apart(spec, expected)
    axes = spec.rows + spec.columns
    attacks = rows
    metrics = [m for m in spec.metrics if not m.optional or rows[m.column].notna().any()]
    spec = spec.model_copy(update={"metrics": tuple(metrics)})
    if spec.chance:
        rows = _with_chance(spec, rows)
    groups = {_as_key(key): group for key, group in rows.groupby([*axes], sort=False)}
    wanted = expected.groupby([*axes], sort=False)["victims"].sum()
    totals = {_as_key(key): int(total) for key, total in wanted.items()}
    keys = _sorted_keys(axes, spec, [*totals, *groups])
    split = len(spec.rows)
    columns = list(dict.fromkeys(key[split:] for key in keys))
    lines = []
    for head in dict.fromkeys(key[:split] for key in keys):
        found = [groups.get(head + column) for column in columns]
        entries = tuple(
            Entry(_estimate(m, group), reference=_reference(m, axes, head + column, published))
            for group, column in zip(found, columns, strict=True)
            for m in spec.metrics
        )
        n = sum(len(groups[head + c]) for c in columns if head + c in groups and head + c in totals)
        planned = [totals[head + c] for c in columns if head + c in totals]
        if not planned:  # a chance level: no grid asks for a number of them
            n = sum(len(group) for group in found if group is not None)
        total = sum(planned) if planned else None
        lines.append((head, Row(head, _names(spec, spec.rows, head), entries, n, total)))
    if spec.compare:
        lines = with_comparisons(spec, groups, lines)
    return Table(
        name=name,
        title=spec.title,
        caption=" ".join(spec.caption.split()),
        axes=spec.rows,
        headings=tuple(spec.labels.get(axis, axis) for axis in spec.rows),
        columns=tuple(Column(c, _names(spec, spec.columns, c), m) for c in columns for m in spec.metrics),
        rows=mark_best(spec, columns, lines),
        notes=notes(
            spec,
            expected,
            attacks,
            reason,
            _sources(published, axes, [h + c for h, _ in lines for c in columns]),
        ),
        compare=spec.compare,
    )


def _scenarios_apart(spec: TableSpec, expected: "pd.DataFrame") -> TableSpec:
    """The declaration with scenarios down the table where a line would otherwise average over several.

    Scenarios differ in what clients do or attackers know: their mean is a number of nothing.
    """
    axes = [*spec.rows, *spec.columns]
    if "scenario" in axes or (expected.groupby(axes)["scenario"].nunique() <= 1).all():
        return spec
    chance = spec.chance and spec.chance.model_copy(update={"by": ("scenario", *spec.chance.by)})
    best = spec.best and spec.best.model_copy(update={"within": ("scenario", *spec.best.within)})
    return spec.model_copy(update={"rows": ("scenario", *spec.rows), "chance": chance, "best": best})


def _as_key(key: Any) -> Key:
    return key if isinstance(key, tuple) else (key,)


def _read(names: Sequence[str]) -> list[str]:
    """The columns that the named ones are made from."""
    return [source for name in names for source in DERIVED.get(name, (name,))]


def _with_derived(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Add the measures that are quotients of columns; no number where the divisor is 0."""
    for name, (above, below) in DERIVED.items():
        if above in rows and below in rows:
            rows[name] = rows[above] / rows[below].where(rows[below] > 0)
    return rows


def _reference(
    metric: Metric, axes: Sequence[str], key: Key, published: Sequence[Published]
) -> Reference | None:
    found = (p.reference for p in published if p.column == metric.column and p.belongs(tuple(axes), key))
    return next(found, None)


def _sources(published: Sequence[Published], axes: Sequence[str], keys: Sequence[Key]) -> list[str]:
    """Who published the numbers that are shown."""
    return [p.source for p in published if any(p.belongs(tuple(axes), key) for key in keys)]


def _measured(spec: TableSpec) -> list[str]:
    """The columns to average, with those of the chance levels where there are any."""
    names = [metric.column for metric in spec.metrics] + ([spec.compare.column] if spec.compare else [])
    levels = spec.chance.levels if spec.chance else ()
    return names + [f"{n}_{level}" for n in names for level in levels if f"{n}_{level}" in MEASURES]


def _with_chance(spec: TableSpec, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Append chance levels as if they were attacks: a row per distinct victim of each group of ``by``."""
    import pandas as pd

    assert spec.chance is not None
    victims = rows.drop_duplicates([*spec.chance.by, "victims_sha256", "batch_size", "victim_id"])
    frames = [rows]
    for level, label in spec.chance.levels.items():
        frame = victims.assign(attack=label, seed=0)
        for axis in set(spec.rows + spec.columns) - {*spec.chance.by, "attack"}:
            frame[axis] = ""
        for metric in spec.metrics:
            column = f"{metric.column}_{level}"
            frame[metric.column] = victims[column].astype(float) if column in MEASURES else np.nan
        frames.append(frame.dropna(how="all", subset=[metric.column for metric in spec.metrics]))
    return pd.concat(frames, ignore_index=True).astype({axis: object for axis in spec.rows + spec.columns})


def _sorted_keys(axes: Sequence[str], spec: TableSpec, keys: Sequence[Key]) -> list[Key]:
    """Keys without repeats: names in the grid's order, numbers in theirs, chance levels last."""
    chance = list(spec.chance.levels.values()) if spec.chance else []
    rank: list[dict[Any, int]] = []
    for position, axis in enumerate(axes):
        values = list(dict.fromkeys(key[position] for key in keys))
        first = [v for v in values if not (v == "" or (axis == "attack" and v in chance))]
        if axis == "dropout_rate" or all(isinstance(v, int | float | np.number) for v in first):
            first.sort(key=float)
        rank.append({value: number for number, value in enumerate([*first, *chance, ""])})
    return sorted(dict.fromkeys(keys), key=lambda key: [r[v] for r, v in zip(rank, key, strict=True)])


def _names(spec: TableSpec, axes: Sequence[str], key: Key) -> tuple[str, ...]:
    return tuple(spec.values.get(a, {}).get(str(v), str(v)) for a, v in zip(axes, key, strict=True))


def _estimate(metric: Metric, group: "pd.DataFrame | None") -> Estimate:
    if group is None:
        return NO_ESTIMATE
    values = group[metric.column].to_numpy(dtype=float)
    if metric.interval == "wilson":
        return success_rate(values, group["batch_size"].to_numpy())
    estimate = bootstrap(values, group["seed"].to_numpy(), metric.statistic)
    return Estimate(estimate.value, np.nan, np.nan) if metric.interval == "none" else estimate
