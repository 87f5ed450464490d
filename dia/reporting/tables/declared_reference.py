"""The file of published numbers that a table declares. Light: every job of the workflow asks for it."""

from pathlib import Path

from dia.errors import ConfigError
from dia.utils.yaml_file import read_yaml


def declared_reference(table: str | Path) -> str | None:
    """The path of published numbers as a table's YAML file has it, relative to that file; None where it has none.

    Nothing else in the file is checked: see :class:`dia.reporting.tables.spec.TableSpec`.

    Raises:
        ConfigError: The file is missing, not YAML, or not a mapping.
    """
    content = read_yaml(table, "table") or {}
    if not isinstance(content, dict):
        raise ConfigError(f"{table} is no table: it must be a mapping")
    path = content.get("reference_values")
    return str(path) if path else None
