"""A table as Markdown."""

from collections.abc import Sequence

from dia.reporting.tables.cells import CellText, headings, key_cells, value_cells
from dia.reporting.tables.layout import Table


def markdown(table: Table) -> str:
    """A pipe table with title, caption and notes."""
    lines = [f"### {table.title}", "", *([table.caption, ""] if table.caption else []), *pipe_table(table)]
    lines += ["", *(f"{note}  " for note in table.notes)]
    return "\n".join(lines) + "\n"


def pipe_table(table: Table) -> list[str]:
    """The lines of the pipe table alone."""
    heads = headings(table, across=True)
    lines = [pipe_line([*table.headings, *heads])]
    lines.append(pipe_line([*[":--"] * len(table.axes), *["--:"] * len(heads)]))
    for key, row in zip(key_cells(table), table.rows, strict=True):
        lines.append(pipe_line([*key, *map(_cell, value_cells(row, table))]))
    return lines


def pipe_line(cells: Sequence[str]) -> str:
    """One line of a pipe table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _cell(cell: CellText) -> str:
    text = f"**{cell.text}**" if cell.bold else cell.text
    return f"{text} {cell.small}" if cell.small else text
