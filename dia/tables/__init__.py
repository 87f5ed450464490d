"""Tables, each declared in a small YAML file: from the collected rows to CSV, Markdown and LaTeX."""

from dia.tables.build import build
from dia.tables.expected import expected_cells
from dia.tables.layout import Entry, Row, Table
from dia.tables.render import FORMATS, render
from dia.tables.spec import TableSpec

__all__ = ["FORMATS", "Entry", "Row", "Table", "TableSpec", "build", "expected_cells", "render"]
