"""A table as one HTML page without any other file: what the report embeds and a browser opens."""

from collections.abc import Sequence
from html import escape

from dia.reporting.html_page import page
from dia.reporting.tables.layout import Table


def table_page(
    table: Table,
    *,
    keys: Sequence[Sequence[str]],
    heads: Sequence[str],
    spans: Sequence[Sequence[tuple[str, int]]],
    values: Sequence[Sequence[str]],
) -> str:
    """Lay a table out on a page of its own.

    Args:
        table: The table.
        keys: The cells of each row before the numbers, repetitions left blank.
        heads: Headings of the numbers.
        spans: For each axis across, headings with the number of columns below each.
        values: The cells of each row below ``heads``, as HTML.
    """
    lines = [f"<h1>{escape(table.title)}</h1>"]
    lines += [f"<p>{escape(table.caption)}</p>"] if table.caption else []
    lines.append("<table>\n<thead>")
    for names in spans:
        cells = ["<th></th>"] * len(table.axes)
        cells += [f'<th class="across" colspan="{width}">{escape(name)}</th>' for name, width in names]
        cells += ["<th></th>"] * (len(heads) - sum(width for _, width in names))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    cells = [f"<th>{escape(head)}</th>" for head in table.headings]
    cells += [f'<th class="number">{escape(head)}</th>' for head in heads]
    lines.append(f"<tr>{''.join(cells)}</tr>\n</thead>\n<tbody>")
    for number, (key, row) in enumerate(zip(keys, values, strict=True)):
        rule = ' class="rule"' if number and any(key[:-1]) else ""
        cells = [f"<td>{escape(name)}</td>" for name in key]
        cells += [f'<td class="number">{value}</td>' for value in row]
        lines.append(f"<tr{rule}>{''.join(cells)}</tr>")
    lines.append("</tbody>\n</table>")
    lines.append(f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in table.notes)}</ul>')
    return page(table.title, "\n".join(lines))


def mark_strong(text: str) -> str:
    """Mark a number that is to be bold, before it is escaped."""
    return f"\0{text}\1"


def mark_small(text: str) -> str:
    """Mark an interval."""
    return f"\2{text}\3"


def marked(cell: str) -> str:
    """Escape a cell and turn its marks into HTML."""
    tags = {"\0": "<b>", "\1": "</b>", "\2": "<small>", "\3": "</small>"}
    return "".join(tags.get(character, character) for character in escape(cell))
