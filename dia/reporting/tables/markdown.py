"""A table as Markdown."""

from collections.abc import Sequence

from dia.reporting.tables.cells import CellText, headings, key_cells, value_cells
from dia.reporting.tables.layout import Table


def markdown(table: Table) -> str:
    """A pipe table with title, caption and notes."""
    heads = headings(table, across=True)
    lines = [f"### {table.title}", "", *([table.caption, ""] if table.caption else [])]
    lines.append(_line([*table.headings, *heads]))
    lines.append(_line([*[":--"] * len(table.axes), *["--:"] * len(heads)]))
    for key, row in zip(key_cells(table), table.rows, strict=True):
        lines.append(_line([*key, *map(_cell, value_cells(row, table))]))
    lines += ["", *(f"{note}  " for note in table.notes)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _cell(cell: CellText) -> str:
    text = f"**{cell.text}**" if cell.bold else cell.text
    return f"{text} {cell.small}" if cell.small else text
