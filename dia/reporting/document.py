"""Markdown documents whose tables are made from results: what stands between two marks is written anew.

    <!-- dia table dropout model=mlp dropout_rate=0.1,0.5 -->
    ...
    <!-- dia end -->

``table NAME AXIS=VALUE[,VALUE...]`` is a declared table of the cells with these values, ``cells`` says how many of the
grid's cells the results have, ``versions`` what was computed by which code and on which machines. All else is left as
its author wrote it.
"""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from dia.errors import ConfigError
from dia.reporting.expected_cells import expected_cells
from dia.reporting.tables.build import build
from dia.reporting.tables.markdown import pipe_line, pipe_table
from dia.reporting.tables.reference import read_published
from dia.reporting.tables.spec import TableSpec
from dia.reporting.what_was_run import COLUMNS, VERSIONS, totals, versions
from dia.results.collected import read_results
from dia.utils.validation_errors import unknown_name_message

if TYPE_CHECKING:
    from dia.config.config import Config

AXES = ("scenario", "dataset", "model", "dropout_rate", "attack")
"""Axes of the grid that a mark may restrict a table to."""

_END = "<!-- dia end -->"
_BLOCK = re.compile(rf"(?P<mark><!-- dia (?P<words>(?!end ).*?) -->\n)(?P<old>.*?)(?P<end>{_END})", re.DOTALL)
_MARK = re.compile(r"<!-- dia .*?-->")


def fill(text: str, config: "Config", results: Path, tables: Path, origin: str) -> str:
    """Write the blocks of a document anew.

    Args:
        text: The Markdown document.
        config: The config, whose cells make the complete grid.
        results: The collected rows.
        tables: The folder of the tables' declarations.
        origin: The document's name, for errors.

    Raises:
        ConfigError: A mark is unknown, or without its end; a table is not declared; there is nothing to fill.
        RecordError: The results cannot be read, or hold cells that the grid does not have.
    """
    blocks = list(_BLOCK.finditer(text))
    if not blocks or len(_MARK.findall(text)) != 2 * len(blocks):
        raise ConfigError(
            f"{origin}: a block begins with a line <!-- dia KIND ... --> and ends with {_END}; found "
            f"{len(_MARK.findall(text))} marks and {len(blocks)} whole blocks"
        )
    for block in blocks:
        if _MARK.search(block["old"]):
            raise ConfigError(f"{origin}: the block of {block['mark'].strip()} has no {_END}")

    def replaced(block: re.Match[str]) -> str:
        kind, *words = block["words"].split()
        if kind not in _KINDS:
            raise ConfigError(
                f"{origin}: {block['mark'].strip()}: {unknown_name_message('kind', kind, _KINDS)}"
            )
        try:
            lines = _KINDS[kind](words, config, results, tables)
        except ConfigError as error:
            raise ConfigError(f"{origin}: {block['mark'].strip()}: {error}") from None
        return "\n".join([block["mark"], *lines, "", block["end"]])

    return _BLOCK.sub(replaced, text)


def _table(words: Sequence[str], config: "Config", results: Path, tables: Path) -> list[str]:
    """A table restricted to some values of its axes, its notes folded."""
    if not words:
        raise ConfigError("which table? write `table NAME`")
    name, *restrictions = words
    spec = TableSpec.from_file(tables / f"{name}.yaml")
    where = dict(spec.where)
    for restriction in restrictions:
        axis, _, values = restriction.partition("=")
        if axis not in AXES or not values:
            raise ConfigError(f"{restriction} is not AXIS=VALUE[,VALUE...] with an axis of {', '.join(AXES)}")
        where[axis] = tuple(values.split(","))
    spec = spec.model_copy(update={"where": where})
    published = read_published(tables / spec.reference_values, spec) if spec.reference_values else []
    table = build(name, spec, expected_cells(config), results, published=published)
    notes = (f"<li>{escape(note, quote=False)}</li>" for note in table.notes)
    return [*pipe_table(table), "", "<details><summary>Notes</summary><ul>", *notes, "</ul></details>"]


def _cells(words: Sequence[str], config: "Config", results: Path, tables: Path) -> list[str]:
    """One sentence: cells done of those planned, for each model."""
    done = set(read_results(results, ["cell_id"])["cell_id"].to_pylist())
    counts = []
    for model in dict.fromkeys(cell.model for cell in config.cells):
        cells = [cell for cell in config.cells if cell.model == model]
        counts.append(f"`{model}` {sum(cell.id in done for cell in cells)} of {len(cells)}")
    total = sum(cell.id in done for cell in config.cells)
    return [f"**{total} of {len(config.cells)} cells are done**: {', '.join(counts)}."]


def _versions(words: Sequence[str], config: "Config", results: Path, tables: Path) -> list[str]:
    """The run as a whole, then the number of cells by machine, software versions and code."""
    frame = read_results(results, COLUMNS).to_pandas()
    lines = [f"* {what}: {how_much}" for what, how_much in totals(frame, frame["cell_id"].nunique())]
    heading = [pipe_line(VERSIONS), pipe_line([":--"] * len(VERSIONS))]
    return [*lines, "", *heading, *map(pipe_line, versions(frame))]


_KINDS = {"table": _table, "cells": _cells, "versions": _versions}
