"""A table for LaTeX: a float, or its parts for a paper."""

import re
from collections.abc import Iterable, Sequence

from dia.reporting.tables.cells import DASH, CellText, headings, key_cells, spanning_headings, value_cells
from dia.reporting.tables.layout import Table

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    DASH: "--",
    "≥": r"$\geq$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def latex_escape(text: str) -> str:
    """Text that LaTeX sets as it is; numbers such as 1.2e-05 become powers of ten."""
    escaped = "".join(_ESCAPES.get(character, character) for character in text)
    return re.sub(r"\b(\d+(?:\.\d+)?)e([+-]\d+)\b", lambda m: rf"${m[1]}\times 10^{{{int(m[2])}}}$", escaped)


def latex(table: Table) -> str:
    """A table float, shrunk to the line where it is wider; the document needs booktabs and graphicx."""
    lines = [
        r"% Needs \usepackage{booktabs,graphicx}.",
        r"\begin{table}",
        r"  \centering\footnotesize\setlength{\tabcolsep}{3pt}\setlength{\belowcaptionskip}{4pt}",
        rf"  \caption{{{_title(table)}}}",
        rf"  \label{{tab:{table.name}}}",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        *_tabular(table)[:-1],
        r"  \end{tabular}}",
        r"  \par\smallskip\raggedright",
        *(f"  {latex_escape(note)}" for note in table.notes),
    ]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def latex_tabular(table: Table) -> str:
    """The bare tabular, to be put into a float of one's own; the document needs booktabs."""
    return "\n".join(_tabular(table)) + "\n"


def latex_caption(table: Table) -> str:
    """Title, caption and notes, to be put into a ``\\caption``."""
    return "\n".join([_title(table), *map(latex_escape, table.notes)]) + "\n"


def _title(table: Table) -> str:
    return latex_escape(" ".join(f"{table.title}. {table.caption}".split()))


def _tabular(table: Table) -> list[str]:
    heads = headings(table, across=False)
    lines = [rf"  \begin{{tabular}}{{{'l' * len(table.axes)}{'r' * len(heads)}}}", r"    \toprule"]
    for names in spanning_headings(table):
        lines += _spanning(table, names)
    lines += [_line(map(latex_escape, [*table.headings, *heads])), r"    \midrule"]
    above: tuple[str, ...] | None = None
    for key, row in zip(key_cells(table), table.rows, strict=True):
        lines += _rule(above, row.key)
        lines.append(_line([*map(latex_escape, key), *map(_cell, value_cells(row, table))]))
        above = row.key
    return [*lines, r"    \bottomrule", r"  \end{tabular}"]


def _cell(cell: CellText) -> str:
    text = latex_escape(cell.text)
    text = rf"\textbf{{{text}}}" if cell.bold else text
    return rf"{text} {{\tiny {latex_escape(cell.small)}}}" if cell.small else text


def _line(cells: Iterable[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _spanning(table: Table, names: Sequence[tuple[str, int]]) -> list[str]:
    """A heading line for one axis across, each name over its columns, with a rule below."""
    cells, rules, start = [""] * len(table.axes), "", len(table.axes) + 1
    for name, width in names:
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{latex_escape(name)}}}")
        rules += rf"\cmidrule(lr){{{start}-{start + width - 1}}}"
        start += width
    rest = [""] * (1 + bool(table.compare))
    return [_line([*cells, *rest]), f"    {rules}"]


def _rule(above: tuple[str, ...] | None, key: tuple[str, ...]) -> list[str]:
    """The separator of two rows: nothing, space, or a rule, by how far out their keys differ."""
    if above is None or len(key) < 2 or above[:-1] == key[:-1]:
        return []
    return [r"    \addlinespace" if above[:-2] == key[:-2] and len(key) > 2 else r"    \midrule"]
