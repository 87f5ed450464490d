"""A table as CSV, Markdown and LaTeX."""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from dia.tables.layout import Entry, Row, Table
from dia.tables.spec import Metric

_DASH = "\N{EN DASH}"  # no number, or an axis that does not apply


def render(table: Table, kind: str) -> str:
    """The table as text of one of ``FORMATS``."""
    return FORMATS[kind](table)


def _csv(table: Table) -> str:
    """Plain numbers for further work: value, low and high in a column each; empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = ["_".join([*map(str, column.raw), column.metric.column]) for column in table.columns]
    ends = [f"{head}{end}" for head in heads for end in ("", "_low", "_high")]
    writer.writerow([*table.axes, *ends, "n", "n_expected"])
    for row in table.rows:
        numbers = ["" if math.isnan(x) else f"{x:.6g}" for entry in row.entries for x in entry.estimate]
        writer.writerow([*row.raw, *numbers, row.n, "" if row.expected is None else row.expected])
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

    heads = [" ".join([*column.key, column.metric.label]) for column in table.columns]
    lines = [f"### {table.title}", "", *([table.caption, ""] if table.caption else [])]
    lines.append(line([*table.headings, *heads, "n"]))
    lines.append(line([*[":--"] * len(table.axes), *["--:"] * (len(heads) + 1)]))
    for key, row in zip(_keys(table), table.rows, strict=True):
        numbers = [
            _number(entry, column.metric, lambda text: f"**{text}**", str)
            for entry, column in zip(row.entries, table.columns, strict=True)
        ]
        lines.append(line([*key, *numbers, _count(row)]))
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
    across = len(table.columns)
    lines = [
        r"% Needs \usepackage{booktabs,graphicx}.",
        r"\begin{table}",
        r"  \centering\footnotesize\setlength{\tabcolsep}{3pt}\setlength{\belowcaptionskip}{4pt}",
        rf"  \caption{{{latex_escape(' '.join(f'{table.title}. {table.caption}'.split()))}}}",
        rf"  \label{{tab:{table.name}}}",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"  \begin{{tabular}}{{{'l' * len(table.axes)}{'r' * (across + 1)}}}",
        r"    \toprule",
    ]
    for depth in range(len(table.columns[0].key) if table.columns else 0):
        lines += _spanning(table, depth)
    heads = [*table.headings, *(column.metric.label for column in table.columns), "n"]
    lines += [_latex_line(map(latex_escape, heads)), r"    \midrule"]
    above: tuple[str, ...] | None = None
    for key, row in zip(_keys(table), table.rows, strict=True):
        lines += _rule(above, row.key)
        numbers = [
            _number(entry, column.metric, lambda t: f"\0{t}\1", lambda t: f"\2{t}\1")
            for entry, column in zip(row.entries, table.columns, strict=True)
        ]
        cells = [latex_escape(text) for text in (*key, *numbers, _count(row))]
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


def _spanning(table: Table, depth: int) -> list[str]:
    """A heading line for one axis across, each name over its columns, with a rule below."""
    cells, rules, start = [""] * len(table.axes), "", len(table.axes) + 1
    for key, group in groupby(table.columns, key=lambda column: column.key[: depth + 1]):
        width = len(list(group))
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{latex_escape(key[-1] or _DASH)}}}")
        rules += rf"\cmidrule(lr){{{start}-{start + width - 1}}}"
        start += width
    return [_latex_line([*cells, ""]), f"    {rules}"]


def _rule(above: tuple[str, ...] | None, key: tuple[str, ...]) -> list[str]:
    """What separates two rows: nothing, space, or a rule, by how far out their keys differ."""
    if above is None or len(key) < 2 or above[:-1] == key[:-1]:
        return []
    return [r"    \addlinespace" if above[:-2] == key[:-2] and len(key) > 2 else r"    \midrule"]


FORMATS: dict[str, Callable[[Table], str]] = {"csv": _csv, "md": _markdown, "tex": _latex}
"""Renderers by file suffix."""
