"""The formats of a table."""

from collections.abc import Callable

from dia.reporting.tables.csv_text import csv_text
from dia.reporting.tables.html import html
from dia.reporting.tables.latex import latex
from dia.reporting.tables.layout import Table
from dia.reporting.tables.markdown import markdown

FORMATS: dict[str, Callable[[Table], str]] = {"csv": csv_text, "md": markdown, "tex": latex, "html": html}
"""Renderers by file suffix."""


def render(table: Table, suffix: str) -> str:
    """The table as text in one of ``FORMATS``."""
    return FORMATS[suffix](table)
