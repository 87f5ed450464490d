"""A table as CSV, Markdown, LaTeX and HTML."""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from dia.reporting.tables import html
from dia.reporting.tables.layout import Entry, Row, Table
from dia.reporting.tables.spec import Metric

_DASH = "\N{EN DASH}"  # no number, or an axis that does not apply


def render(table: Table, kind: str) -> str:
    """The table as text of one of ``FORMATS``."""
    return FORMATS[kind](table)


def _csv(table: Table) -> str:
    """Plain numbers for further work, each in a column of its own; empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    referenced = table.referenced()
    ends = []
    for column, published in zip(table.columns, referenced, strict=True):
        head = "_".join([*map(str, column.raw), column.metric.column])
        endings = ("", "_low", "_high", *(("_published_low", "_published_high") if published else ()))
        ends += [f"{head}{end}" for end in endings]
    compared = [f"{table.compare.column}_difference", "p_value", "pairs"] if table.compare else []
    writer.writerow([*table.axes, *ends, *compared, "n", "n_expected"])
    for row in table.rows:
        numbers: list[float] = []
        for entry, published in zip(row.entries, referenced, strict=True):
            numbers += entry.estimate
            if published:
                numbers += [entry.reference.low, entry.reference.high] if entry.reference else [math.nan] * 2
        if table.compare:
            c = row.comparison
            numbers += [c.difference, c.p_value, c.pairs] if c else [math.nan] * 3
        shown = ["" if math.isnan(x) else f"{x:.6g}" for x in numbers]
        writer.writerow([*row.raw, *shown, row.n, "" if row.expected is None else row.expected])
    return out.getvalue()


def _count(row: Row) -> str:
    return str(row.n) if row.expected is None else f"{row.n}/{row.expected}"


def _number(entry: Entry, metric: Metric, bold: Callable[[str], str], small: Callable[[str], str]) -> str:
    value, low, high = entry.estimate
    if math.isnan(value):
        return _DASH
    text = format(value, metric.format)
    text = bold(text) if entry.best else text
    if metric.interval == "none" or math.isnan(low):
        return text
    return f"{text} {small(f'[{low:{metric.format}}, {high:{metric.format}}]')}"


def _published(entry: Entry, metric: Metric) -> str:
    if entry.reference is None:
        return _DASH
    low, high = entry.reference.low, entry.reference.high
    return f"{low:{metric.format}}" + ("" if low == high else f" to {high:{metric.format}}")


def _compared(row: Row, table: Table) -> str:
    if row.comparison is None or table.compare is None:
        return _DASH
    p = row.comparison.p_value
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    return f"{format(row.comparison.difference, table.compare.format)} ({chance})"


def _heads(table: Table, across: bool) -> list[str]:
    """Headings of all columns after the axes; with the values across in them, or without."""
    heads = []
    for column, published in zip(table.columns, table.referenced(), strict=True):
        heads.append(" ".join([*(column.key if across else ()), column.metric.label]))
        heads += ["published"] if published else []
    return [*heads, *([table.compare.label] if table.compare else []), "n"]


def _values(row: Row, table: Table, bold: Callable[[str], str], small: Callable[[str], str]) -> list[str]:
    """The cells below these headings."""
    cells = []
    for entry, column, published in zip(row.entries, table.columns, table.referenced(), strict=True):
        cells.append(_number(entry, column.metric, bold, small))
        cells += [_published(entry, column.metric)] if published else []
    return [*cells, *([_compared(row, table)] if table.compare else []), _count(row)]


def _keys(table: Table) -> list[tuple[str, ...]]:
    """Each row's key with what repeats the row above left blank, a dash where an axis does not apply."""
    keys, above = [], ("",) * len(table.axes)
    for row in table.rows:
        same = next((i for i, (a, b) in enumerate(zip(row.key, above, strict=True)) if a != b), 0)
        keys.append(("",) * same + tuple(name or _DASH for name in row.key[same:]))
        above = row.key
    return keys


def _markdown(table: Table) -> str:
    """A pipe table with title, caption and notes."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    heads = _heads(table, across=True)
    lines = [f"### {table.title}", "", *([table.caption, ""] if table.caption else [])]
    lines.append(line([*table.headings, *heads]))
    lines.append(line([*[":--"] * len(table.axes), *["--:"] * len(heads)]))
    for key, row in zip(_keys(table), table.rows, strict=True):
        lines.append(line([*key, *_values(row, table, lambda text: f"**{text}**", str)]))
    lines += ["", *(f"{note}  " for note in table.notes)]
    return "\n".join(lines) + "\n"


_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    _DASH: "--",
    "≥": r"$\geq$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def latex_escape(text: str) -> str:
    """Text that LaTeX sets as it is; numbers such as 1.2e-05 become powers of ten."""
    escaped = "".join(_LATEX_ESCAPES.get(character, character) for character in text)
    return re.sub(r"\b(\d+(?:\.\d+)?)e([+-]\d+)\b", lambda m: rf"${m[1]}\times 10^{{{int(m[2])}}}$", escaped)


def _latex(table: Table) -> str:
    """A table float, shrunk to the line where it is wider; the document needs booktabs and graphicx."""
    heads = _heads(table, across=False)
    lines = [
        r"% Needs \usepackage{booktabs,graphicx}.",
        r"\begin{table}",
        r"  \centering\footnotesize\setlength{\tabcolsep}{3pt}\setlength{\belowcaptionskip}{4pt}",
        rf"  \caption{{{latex_escape(' '.join(f'{table.title}. {table.caption}'.split()))}}}",
        rf"  \label{{tab:{table.name}}}",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"  \begin{{tabular}}{{{'l' * len(table.axes)}{'r' * len(heads)}}}",
        r"    \toprule",
    ]
    for depth in range(len(table.columns[0].key) if table.columns else 0):
        lines += _spanning(table, depth)
    lines += [_latex_line(map(latex_escape, [*table.headings, *heads])), r"    \midrule"]
    above: tuple[str, ...] | None = None
    for key, row in zip(_keys(table), table.rows, strict=True):
        lines += _rule(above, row.key)
        numbers = _values(row, table, lambda t: f"\0{t}\1", lambda t: f"\2{t}\1")
        cells = [latex_escape(text) for text in (*key, *numbers)]
        lines.append(_latex_line(_marked(cell) for cell in cells))
        above = row.key
    lines += [r"    \bottomrule", r"  \end{tabular}}", r"  \par\smallskip\raggedright"]
    lines += [f"  {latex_escape(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _marked(cell: str) -> str:
    """Replace the marks that were set before escaping."""
    return cell.replace("\0", r"\textbf{").replace("\2", r"{\tiny ").replace("\1", "}")


def _latex_line(cells: Iterable[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _spans(table: Table, depth: int) -> list[tuple[str, int]]:
    """The headings of one axis across, each with the number of columns below it."""
    widths = [1 + published for published in table.referenced()]
    numbered = zip(table.columns, widths, strict=True)
    groups = groupby(numbered, key=lambda pair: pair[0].key[: depth + 1])
    return [(key[-1] or _DASH, sum(width for _, width in group)) for key, group in groups]


def _spanning(table: Table, depth: int) -> list[str]:
    """A heading line for one axis across, each name over its columns, with a rule below."""
    cells, rules, start = [""] * len(table.axes), "", len(table.axes) + 1
    for name, width in _spans(table, depth):
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{latex_escape(name)}}}")
        rules += rf"\cmidrule(lr){{{start}-{start + width - 1}}}"
        start += width
    rest = [""] * (1 + bool(table.compare))
    return [_latex_line([*cells, *rest]), f"    {rules}"]


def _rule(above: tuple[str, ...] | None, key: tuple[str, ...]) -> list[str]:
    """What separates two rows: nothing, space, or a rule, by how far out their keys differ."""
    if above is None or len(key) < 2 or above[:-1] == key[:-1]:
        return []
    return [r"    \addlinespace" if above[:-2] == key[:-2] and len(key) > 2 else r"    \midrule"]


def _html(table: Table) -> str:
    """A page of its own."""
    depths = range(len(table.columns[0].key) if table.columns else 0)
    return html.table_page(
        table,
        keys=_keys(table),
        heads=_heads(table, across=False),
        spans=[_spans(table, depth) for depth in depths],
        values=[
            [html.marked(cell) for cell in _values(row, table, html.mark_strong, html.mark_small)]
            for row in table.rows
        ],
    )


FORMATS: dict[str, Callable[[Table], str]] = {"csv": _csv, "md": _markdown, "tex": _latex, "html": _html}
"""Renderers by file suffix."""
