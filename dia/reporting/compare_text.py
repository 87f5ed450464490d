"""A comparison of two studies as Markdown, as one HTML page, and as CSV."""

import csv
import io
import math
from collections.abc import Callable, Iterator
from html import escape

from dia.reporting.compare import NAMES, StudyComparison
from dia.reporting.html_page import page
from dia.reporting.tables.html import html_body
from dia.reporting.tables.markdown import markdown
from dia.utils.text import shorten

_MOST_NAMED = 10
_LONGEST_VALUE = 80


def as_markdown(compared: StudyComparison, studies: tuple[str, str]) -> str:
    """Headings, a table per score, and lists of what differs and what is not compared."""
    lines = [f"## {_title(studies)}", ""]
    for heading, items in _sections(compared):
        lines += [f"### {heading}", "", *(f"* {item}" for item in items), ""]
    return "\n".join([*lines, *map(markdown, compared.tables)])


def as_html(compared: StudyComparison, studies: tuple[str, str]) -> str:
    """One page without any other file."""
    parts = []
    for heading, items in _sections(compared):
        listed = "".join(f"<li>{escape(item)}</li>" for item in items)
        parts.append(f'<h2>{escape(heading)}</h2>\n<ul class="notes">{listed}</ul>')
    return page(_title(studies), "\n".join([*parts, *map(html_body, compared.tables)]))


def as_csv(compared: StudyComparison, studies: tuple[str, str]) -> str:
    """One line per score and group, plain numbers for further work; empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [f"{name}{end}" for name in (*NAMES, "difference") for end in ("", "_low", "_high")]
    axes = compared.tables[0].axes
    writer.writerow(["score", *axes, *heads, "p_value", "pairs", "n", "n_expected"])
    for table in compared.tables:
        for row in table.rows:
            numbers = [number for entry in row.entries for number in entry.estimate]
            found = row.comparison
            numbers += [*found.difference, found.p_value, found.pairs] if found else [math.nan] * 5
            texts = ["" if math.isnan(number) else f"{number:.6g}" for number in numbers]
            score = table.columns[0].metric.column
            writer.writerow([score, *row.raw, *texts, row.n, row.expected])
    return out.getvalue()


FORMATS: dict[str, Callable[[StudyComparison, tuple[str, str]], str]] = {
    ".md": as_markdown,
    ".html": as_html,
    ".csv": as_csv,
}
"""Renderers by file suffix."""


def _title(studies: tuple[str, str]) -> str:
    return f"A: {studies[0]}, B: {studies[1]}"


def _sections(compared: StudyComparison) -> Iterator[tuple[str, list[str]]]:
    """The lists beside the tables, each with its heading; those without an item are left out but for the first."""
    changes = [
        f"{change.name}: {_short(change.before)} in A, {_short(change.after)} in B "
        f"({change.cells} of {compared.cells} cells)"
        for change in compared.changes
    ]
    yield "What differs", changes or ["no setting, no code, no version of torch"]
    alone = [
        f"only in {name}: {len(cells)} ({shorten(cells, _MOST_NAMED)})"
        for name, cells in zip(NAMES, compared.only, strict=True)
        if cells
    ]
    yield "Cells", [f"in both: {compared.cells}", *alone]
    if compared.unmatched:
        yield (
            "Victims that are not compared",
            [
                f"{reason}: {len(victims)} ({shorten(victims, _MOST_NAMED)})"
                for reason, victims in compared.unmatched.items()
            ],
        )


def _short(value: str) -> str:
    """A value that may be a hash or a long structure, cut."""
    if len(value) == 64 and not set(value) - set("0123456789abcdef"):
        return value[:12]
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."
