"""A table as one HTML page without any other file: the report embeds it and a browser opens it."""

from collections.abc import Sequence
from html import escape

from dia.reporting.html_page import page
from dia.reporting.tables.cells import CellText, headings, key_cells, spanning_headings, value_cells
from dia.reporting.tables.layout import Table


def html(table: Table) -> str:
    """A complete HTML document with title, caption, table and notes."""
    return page(table.title, html_body(table))


def html_body(table: Table) -> str:
    """The content of that document, to stand among others."""
    lines = [f"<h1>{escape(table.title)}</h1>"]
    lines += [f"<p>{escape(table.caption)}</p>"] if table.caption else []
    lines.append("<table>\n<thead>")
    lines += _head(table)
    lines.append("</thead>\n<tbody>")
    for number, (key, row) in enumerate(zip(key_cells(table), table.rows, strict=True)):
        rule = ' class="rule"' if number and any(key[:-1]) else ""
        cells = [f"<td>{escape(name)}</td>" for name in key]
        cells += [f'<td class="number">{_cell(cell)}</td>' for cell in value_cells(row, table)]
        lines.append(f"<tr{rule}>{''.join(cells)}</tr>")
    lines.append("</tbody>\n</table>")
    lines.append(f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in table.notes)}</ul>')
    return "\n".join(lines)


def _head(table: Table) -> Sequence[str]:
    """A line per axis across, its values over their columns, and the line of all headings."""
    heads, lines = headings(table, across=False), []
    for names in spanning_headings(table):
        cells = ["<th></th>"] * len(table.axes)
        cells += [f'<th class="across" colspan="{width}">{escape(name)}</th>' for name, width in names]
        cells += ["<th></th>"] * (len(heads) - sum(width for _, width in names))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    cells = [f"<th>{escape(head)}</th>" for head in table.headings]
    cells += [f'<th class="number">{escape(head)}</th>' for head in heads]
    return [*lines, f"<tr>{''.join(cells)}</tr>"]


def _cell(cell: CellText) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.bold else escape(cell.text)
    return f"{text} <small>{escape(cell.small)}</small>" if cell.small else text
