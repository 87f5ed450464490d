"""Two studies side by side: the same cells and private batches, before and after a change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dia.attacks.stop_reasons import is_scored
from dia.errors import RecordError
from dia.reporting.intervals import NO_ESTIMATE, bootstrap
from dia.reporting.tables.compare import PAIRED, comparisons, paired_differences
from dia.reporting.tables.layout import Column, Entry, Key, Row, Table
from dia.reporting.tables.spec import DERIVED, Compare, Metric
from dia.results.cell_file import read_cell
from dia.results.cell_head import as_text, refuse_cells
from dia.results.collected import read_results
from dia.results.columns import settings_columns

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("A", "B")
SETTINGS = tuple(column.name for column in settings_columns())
PROVENANCE = ("code_fingerprint", "dia_version", "torch_version", "device", "device_name")
_DESCRIBED = (*SETTINGS, "model_definition", *PROVENANCE)
_ALWAYS = ("cell_id", *PAIRED, "victim_id", "victims_sha256", "source_indices", "stop_reason", *_DESCRIBED)
_KEYS = (*PAIRED, "victim_id")


@dataclass(frozen=True, slots=True)
class Change:
    """A setting, or a part of the provenance, with another value in B than in A.

    Attributes:
        name: The column.
        before, after: Its values in A and B, as text.
        cells: Number of cells with this change, of those that both have.
    """

    name: str
    before: str
    after: str
    cells: int


@dataclass(frozen=True, slots=True)
class StudyComparison:
    """Two studies compared.

    Attributes:
        tables: One table per score, a row per group.
        changes: Where the settings and the provenance of cells that both have differ.
        cells: Number of cells that both have.
        only: The cells that A alone has, and those of B.
        unmatched: Victims of cells in both that are not compared: reason -> ``cell_id/victim_id``.
    """

    tables: tuple[Table, ...]
    changes: tuple[Change, ...]
    cells: int
    only: tuple[tuple[str, ...], tuple[str, ...]]
    unmatched: Mapping[str, tuple[str, ...]]


def read_study(path: Path, scores: Sequence[str]) -> "pd.DataFrame":
    """The rows of a study, one per victim, in the order of their cells.

    Args:
        path: A folder of results with ``cells/`` in it, or a file of collected cells.
        scores: The measures that are needed besides identity, victims, settings and provenance.

    Raises:
        RecordError: There is nothing to read, or a file is damaged, foreign, or without a column.
    """
    needed = [*_ALWAYS, *(column for score in scores for column in DERIVED.get(score, (score,)))]
    columns = list(dict.fromkeys(needed))
    table = _folder(path, columns) if path.is_dir() else _collected(path, columns)
    if not table.num_rows:
        raise RecordError(f"{path}: no cell in it; run the study first")
    frame = table.to_pandas()
    for name in {*_DESCRIBED}:  # as text: pandas would make floats of integers beside absent values
        frame[name] = [as_text(value) for value in table[name].to_pylist()]
    for name in set(scores) & set(DERIVED):
        dividend, divisor = DERIVED[name]
        frame[name] = frame[dividend] / frame[divisor].where(frame[divisor] > 0)
    return frame


def _folder(path: Path, columns: Sequence[str]) -> pa.Table:
    """The rows of all cell files below ``cells/``: the folder is what is compared, whatever config it was made from."""
    files = sorted(file for file in (path / "cells").rglob("*.parquet") if not file.name.startswith("."))
    if not files:
        raise RecordError(
            f"{path}: no cells/*.parquet in it; name a results folder (results/NAME) or a file of `dia collect`"
        )
    tables, faults = [], []
    for file in files:
        try:
            tables.append(read_cell(file, None, columns))
        except RecordError as error:
            faults.append(str(error))
    refuse_cells(faults, len(files))
    return pa.concat_tables(tables, promote_options="permissive")


def _collected(path: Path, columns: Sequence[str]) -> pa.Table:
    """The rows of a collected file; a setting that came later has its default."""
    from dia.settings.scenario import Settings

    table = read_results(path)
    defaults = Settings().model_dump(mode="json")
    for name in (name for name in columns if name not in table.column_names):
        if name not in defaults:
            raise RecordError(f"{path}: no column {name}; collect its cells again with `dia collect`")
        table = table.append_column(name, pa.array([as_text(defaults[name])] * table.num_rows))
    return table.select(columns)


def compare_studies(
    a: "pd.DataFrame", b: "pd.DataFrame", by: Sequence[str], scores: Sequence[str]
) -> StudyComparison:
    """Compare the victims that two studies share: same cell, same victim set, same images.

    Args:
        a: Rows of A, see :func:`read_study`.
        b: Rows of B.
        by: The axes of the groups, of ``Cell.AXES``.
        scores: The columns to compare.

    Raises:
        RecordError: No cell is in both.
    """
    ids = [tuple(dict.fromkeys(frame["cell_id"])) for frame in (a, b)]
    inside = [frozenset(found) for found in ids]
    shared = inside[0] & inside[1]
    if not shared:
        raise RecordError(
            "A and B have no cell in common, so nothing can be compared; "
            f"A has for example {ids[0][0]}, B {ids[1][0]}"
        )
    a, b = (frame[frame["cell_id"].isin(shared)] for frame in (a, b))
    return StudyComparison(
        tables=tuple(_table(a, b, by, score) for score in scores),
        changes=_changes(a, b),
        cells=len(shared),
        only=(
            tuple(cell for cell in ids[0] if cell not in shared),
            tuple(cell for cell in ids[1] if cell not in shared),
        ),
        unmatched=_unmatched(a, b),
    )


def _table(a: "pd.DataFrame", b: "pd.DataFrame", by: Sequence[str], score: str) -> Table:
    """The table of one score: the means of A and B over the victims that both scored, and their difference."""
    whole = paired_differences(b, a, _KEYS, score)
    groups: dict[Key, pd.DataFrame] = {}
    victims: dict[Key, int] = {}
    for key, planned in a.groupby([*by], sort=False):
        victims[key] = len(planned)
        chosen = whole
        for axis, value in zip(by, key, strict=True):
            chosen = chosen[chosen[axis] == value]
        groups[key] = chosen
    found = comparisons(groups)
    metric = Metric(column=score, label=score, format=".4g")
    columns = tuple(Column((name,), (name,), metric) for name in NAMES)
    rows = []
    for key, pairs in groups.items():
        means = [
            bootstrap(pairs[column], pairs["seed"]) if len(pairs) else NO_ESTIMATE
            for column in (f"{score}_other", score)
        ]
        entries = tuple(Entry(column, mean) for column, mean in zip(columns, means, strict=True))
        printed = tuple(map(str, key))
        rows.append(Row(key, printed, entries, len(pairs), victims[key], found.get(key)))
    difference = Compare(axis=by[0], to=NAMES[0], column=score, label="B - A", format="+.3g")
    return Table(
        name=f"compare_{score}",
        title=f"{score}: B against A",
        caption="",
        axes=tuple(by),
        headings=tuple(by),
        columns=columns,
        rows=tuple(rows),
        notes=(
            "Means over the victims that both studies have and scored, n of those in A's cells that B has. [ ]: 95% "
            "bootstrap interval over seeds and victims; that of the difference is paired.",
            "p-value: two-sided Wilcoxon signed-rank test over victims, corrected by Holm's method for the rows of "
            "this table.",
        ),
        compare=difference,
    )


def _changes(a: "pd.DataFrame", b: "pd.DataFrame") -> tuple[Change, ...]:
    """The changes of the cells that both have, settings first, what changed in most cells first."""
    before, after = (frame.drop_duplicates("cell_id").set_index("cell_id") for frame in (a, b))
    after = after.loc[before.index]
    found = []
    for name in _DESCRIBED:
        values = before[[name]].assign(after=after[name])
        counted = values[values[name] != values["after"]].value_counts(sort=True)
        found += [Change(name, str(old), str(new), int(cells)) for (old, new), cells in counted.items()]
    return tuple(found)


def _unmatched(a: "pd.DataFrame", b: "pd.DataFrame") -> dict[str, tuple[str, ...]]:
    """The victims of shared cells that are not compared, by the reason."""
    rows: list[dict[tuple[str, str], Any]] = []
    for frame in (a, b):
        columns = ["cell_id", "victim_id", "victims_sha256", "source_indices", "stop_reason"]
        rows.append({(row[0], row[1]): row[2:] for row in frame[columns].itertuples(index=False, name=None)})
    found: dict[str, list[str]] = {}
    for cell, victim in dict.fromkeys([*rows[0], *rows[1]]):
        if reason := _reason(rows[0].get((cell, victim)), rows[1].get((cell, victim))):
            found.setdefault(reason, []).append(f"{cell}/{victim}")
    return {reason: tuple(victims) for reason, victims in found.items()}


def _reason(a: Sequence[Any] | None, b: Sequence[Any] | None) -> str:
    """The reason why a victim of A and that of B with its number are no pair; empty where they are."""
    if a is None or b is None:
        return f"only {NAMES[a is None]} attacked the victim"
    if a[0] != b[0]:
        return f"another victim set: sha256 {a[0][:12]} in A, {b[0][:12]} in B"
    if tuple(a[1]) != tuple(b[1]):
        return "other images of the victim set (source_indices)"
    for name, row in zip(NAMES, (a, b), strict=True):
        if not is_scored(row[2]):
            return f"no reconstruction in {name}: {row[2]}"
    return ""
