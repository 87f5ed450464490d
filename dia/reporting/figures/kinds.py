"""Which figures there are, and how many files each is for a config."""

from collections.abc import Iterable
from dataclasses import dataclass

from dia.errors import ConfigError
from dia.jobs.cell import Cell
from dia.utils.validation_errors import unknown_name_message


@dataclass(frozen=True, slots=True)
class FigureKind:
    """One kind of figure.

    Attributes:
        axes: There is one file for each combination of values of these axes.
        shows: What it shows, in a few words.
        cell_files: Whether it is drawn from the cells' own files, which have the images, not from the collected rows.
        masks: Whether it only exists where an attack recovers masks: ``dia`` at a rate above 0.
    """

    axes: tuple[str, ...]
    shows: str
    cell_files: bool = False
    masks: bool = False


KINDS: dict[str, FigureKind] = {
    "reconstructions": FigureKind(
        ("scenario", "dataset", "model", "seed"),
        "private images and reconstructions by rate",
        cell_files=True,
    ),
    "rates": FigureKind(("scenario",), "scores against the dropout rate, with intervals"),
    "curves": FigureKind(
        ("scenario", "dataset", "model"), "gradient distance and image error over iterations"
    ),
    "masks": FigureKind(("scenario",), "mask recovery over iterations", masks=True),
    "victims": FigureKind(("scenario", "dataset", "model"), "distribution of a score over the victims"),
    "batch_size": FigureKind((), "scores against the number of images in a private batch"),
    "privacy_utility": FigureKind((), "what is recovered against the accuracy of the trained model"),
}


def figure_groups(kind: str, cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """The files of a kind of figure with the cells that each shows.

    Returns:
        Name -> cells; a name is a path without suffix such as ``curves/default/mnist/mlp``.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"figures: {unknown_name_message('figure', kind, KINDS)}")
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        parts = [
            f"seed{cell.seed}" if axis == "seed" else str(getattr(cell, axis)) for axis in KINDS[kind].axes
        ]
        groups.setdefault("/".join([kind, *parts]), []).append(cell)
    if KINDS[kind].masks:
        groups = {
            name: group for name, group in groups.items() if any(c.attack == "dia" and c.p for c in group)
        }
    return groups
