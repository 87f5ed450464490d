"""Published numbers beside ours, from a CSV file that the user writes."""

import csv
from dataclasses import dataclass
from pathlib import Path

from dia.errors import ConfigError
from dia.reporting.tables.layout import Key, Reference
from dia.reporting.tables.spec import MEASURES, TableSpec
from dia.utils.validation_errors import unknown_name_message

_NUMBERS = ("column", "low", "high", "source")


@dataclass(frozen=True, slots=True)
class Published:
    """One line of the file: where it belongs, the column, the number and who published it."""

    axes: dict[str, str]
    column: str
    reference: Reference
    source: str

    def belongs(self, axes: tuple[str, ...], key: Key) -> bool:
        """Tell whether the number is for this key; dropout rates are compared as numbers."""
        values = dict(zip(axes, key, strict=True))
        return all(_same(axis, str(values[axis]), wanted) for axis, wanted in self.axes.items())


def _same(axis: str, value: str, wanted: str) -> bool:
    """Tell whether two values of an axis are equal."""
    if axis == "dropout_rate" and value and wanted:
        return float(value) == float(wanted)
    return value == wanted


def read_published(path: Path, spec: TableSpec) -> list[Published]:
    """Read the file: columns named as the table's axes, and ``column``, ``low``, ``high``, ``source``.

    ``column`` is a column of the results such as ``mse_normalised``; a single value stands in ``low``, and ``high`` is
    empty then.

    Raises:
        ConfigError: The file is missing, or a heading, a column or a number in it is wrong.
    """
    axes = spec.rows + spec.columns
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(line for line in file if not line.startswith("#"))
            lines, heads = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the reference values {path}: {error}") from None
    allowed = [*axes, *_NUMBERS]
    if wrong := [head for head in heads if head not in allowed]:
        raise ConfigError(f"{path}: {unknown_name_message('heading', wrong[0], allowed)}")
    if missing := [name for name in _NUMBERS if name not in heads]:
        raise ConfigError(f"{path}: the heading {', '.join(missing)} is missing")
    found = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, value {number}"
        if line["column"] not in MEASURES:
            raise ConfigError(f"{where}: {unknown_name_message('column', line['column'], MEASURES)}")
        try:
            low = float(line["low"])
            reference = Reference(low, float(line["high"] or low))
        except (TypeError, ValueError):
            raise ConfigError(
                f"{where}: low and high must be numbers, got {line['low']}, {line['high']}"
            ) from None
        keys = {axis: line[axis] for axis in axes if line.get(axis)}
        found.append(Published(keys, line["column"], reference, line["source"]))
    return found
