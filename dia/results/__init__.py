"""One Parquet file per cell, one row per victim; and all cells of a grid in one file without pictures.

Needs pyarrow and Pillow only: a cell's process imports neither pandas nor MLflow.
"""

from dia.results.cell_file import PICTURE_NAMES, content_hash, read_cell, read_pictures, write_cell
from dia.results.collected import Collected, collect, read_results
from dia.results.columns import COLUMNS, Column, schema, settings_columns
from dia.results.job_list import existing, read_job_list
from dia.results.images import picture_columns, png_bytes, png_list

__all__ = [
    "COLUMNS",
    "PICTURE_NAMES",
    "Collected",
    "Column",
    "collect",
    "content_hash",
    "existing",
    "picture_columns",
    "png_bytes",
    "png_list",
    "read_cell",
    "read_job_list",
    "read_pictures",
    "read_results",
    "schema",
    "settings_columns",
    "write_cell",
]
