"""Faults of declared tables, told before any cell runs."""

from collections.abc import Iterable
from pathlib import Path

from dia.errors import ConfigError
from dia.reporting.tables.reference import read_published
from dia.reporting.tables.spec import TableSpec
from dia.utils.paths import expanded


def check_tables(paths: Iterable[str | Path]) -> None:
    """Read declarations of tables for their faults alone.

    Raises:
        ConfigError: Some are wrong; the message names all faults of all of them.
    """
    faults = []
    for path in paths:
        try:
            spec = TableSpec.from_file(path)
            published = Path(path).parent / expanded(spec.reference_values or "")
            if published.is_file():  # a missing one is an input that Snakemake names
                read_published(published, spec)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
