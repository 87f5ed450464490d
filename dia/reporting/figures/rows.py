"""The collected rows that a figure shows, and how far they are complete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dia.errors import RecordError
from dia.results.collected import read_results

if TYPE_CHECKING:
    import pandas as pd

CELL_COLUMNS = ("cell_id", "scenario", "dataset", "model", "dropout_rate", "attack", "seed")


class NothingToShow(RecordError):
    """None of a figure's cells is among the results."""


@dataclass(frozen=True)
class Rows:
    """The rows and cells from which a figure is drawn.

    Attributes:
        frame: One row per victim: the axes, ``p`` (the rate as a number) and the columns asked for.
        expected: The cells that the config has there, see :func:`dia.reporting.expected_cells.expected_cells`.
    """

    frame: "pd.DataFrame"
    expected: "pd.DataFrame"

    def planned(self, axis: str) -> list[str]:
        """The values of an axis in the config's order; rates in ascending order."""
        values = list(dict.fromkeys(self.expected[axis]))
        return sorted(values, key=float) if axis == "dropout_rate" else values

    def panels(self) -> list[tuple[str, str]]:
        """Each (dataset, model) of the config."""
        return list(dict.fromkeys(zip(self.expected["dataset"], self.expected["model"], strict=True)))

    def at(self, **axes: str) -> "pd.DataFrame":
        """The rows with these values."""
        frame = self.frame
        for axis, value in axes.items():
            frame = frame[frame[axis] == value]
        return frame

    def note(self, text: str) -> str:
        """The line below a figure: the text, and where cells are missing how many there are."""
        done = self.frame["cell_id"].nunique()
        return text if done == len(self.expected) else f"{text}; {done} of {len(self.expected)} cells"


def read_rows(
    results: str | Path, expected: "pd.DataFrame", columns: Sequence[str], where: Mapping[str, str]
) -> Rows:
    """Read the rows of a figure.

    Args:
        results: The collected Parquet file.
        expected: The cells of the config.
        columns: Columns besides the axes.
        where: Axis -> the value that the figure shows.

    Raises:
        RecordError: The file cannot be read.
        NothingToShow: It has none of the cells.
    """
    for axis, value in where.items():
        expected = expected[expected[axis] == value]
    frame = read_results(results, [*CELL_COLUMNS, *columns]).to_pandas()
    frame = frame[frame["cell_id"].isin(expected["cell_id"])]
    if not len(frame):
        shown = ", ".join(f"{axis} {value}" for axis, value in where.items())
        raise NothingToShow(
            f"{results}: has none of the {len(expected)} cells of the figure ({shown or 'all'})"
        )
    return Rows(frame.assign(p=frame["dropout_rate"].astype(float)), expected)
