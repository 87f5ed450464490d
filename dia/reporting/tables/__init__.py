"""Tables, each declared in a small YAML file: from the collected rows to CSV, Markdown and LaTeX."""

from dia.reporting.expected_cells import expected_cells
from dia.reporting.tables.build import build
from dia.reporting.tables.layout import Entry, Row, Table
from dia.reporting.tables.render import FORMATS, render
from dia.reporting.tables.spec import TableSpec

__all__ = ["FORMATS", "Entry", "Row", "Table", "TableSpec", "build", "expected_cells", "render"]
