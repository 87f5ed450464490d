"""The figures there are, and how many files each is for a config. Light: matplotlib is loaded only to draw one."""

from collections.abc import Iterable
from dataclasses import dataclass

from dia.attacks.registry import ATTACKS
from dia.errors import ConfigError
from dia.jobs.cell import Cell
from dia.utils.validation_errors import unknown_name_message


@dataclass(frozen=True, slots=True)
class FigureKind:
    """One kind of figure.

    Attributes:
        draw: ``"module:function"`` of the function that draws it, see :func:`dia.utils.lazy_import.load_object`. It is
            called with the path of the collected rows, the expected cells and a value for each of ``axes``; where
            ``cell_files``, with the cells and their files and the number of victims.
        axes: There is one file for each combination of values of these axes.
        description: Its content in a few words.
        cell_files: Whether it is drawn from the cells' own files, which have the images, not from the collected rows.
        masks: Whether it only exists where an attack optimises masks, at a rate above 0.
        compares_scenarios: Whether it only exists where its cells are of several scenarios.
    """

    draw: str
    axes: tuple[str, ...]
    description: str
    cell_files: bool = False
    masks: bool = False
    compares_scenarios: bool = False


FIGURES: dict[str, FigureKind] = {
    "reconstructions": FigureKind(
        "dia.reporting.figures.reconstructions:reconstructions",
        ("scenario", "dataset", "model", "seed"),
        "private images and reconstructions by rate",
        cell_files=True,
    ),
    "rates": FigureKind(
        "dia.reporting.figures.rates:rates",
        ("scenario",),
        "scores against the dropout rate, with intervals",
    ),
    "overview": FigureKind(
        "dia.reporting.figures.overview:overview",
        ("scenario",),
        "SSIM against the dropout rate, all datasets and models side by side",
    ),
    "curves": FigureKind(
        "dia.reporting.figures.curves:curves",
        ("scenario", "dataset", "model"),
        "gradient distance and image error over iterations",
    ),
    "masks": FigureKind(
        "dia.reporting.figures.masks:masks",
        ("scenario", "attack"),
        "mask recovery over iterations",
        masks=True,
    ),
    "victims": FigureKind(
        "dia.reporting.figures.victims:victims",
        ("scenario", "dataset", "model"),
        "distribution of a score over the victims",
    ),
    "scenarios": FigureKind(
        "dia.reporting.figures.scenarios:scenarios",
        ("dataset", "model"),
        "SSIM of every scenario side by side",
        compares_scenarios=True,
    ),
    "batch_size": FigureKind(
        "dia.reporting.figures.batch_size:batch_size",
        (),
        "scores against the number of images in a private batch",
    ),
    "privacy_utility": FigureKind(
        "dia.reporting.figures.privacy_utility:privacy_utility",
        (),
        "what is recovered against the accuracy of the trained model",
    ),
}
"""Figure kinds by the name that a config lists them under."""


def figure_groups(kind: str, cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """The files of a kind of figure with the cells that each shows.

    Returns:
        Name -> cells; a name is a path without suffix such as ``curves/default/mnist/mlp``.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind not in FIGURES:
        raise ConfigError(f"figures: {unknown_name_message('figure', kind, FIGURES)}")
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        axes = FIGURES[kind].axes
        parts = [f"seed{cell.seed}" if axis == "seed" else str(getattr(cell, axis)) for axis in axes]
        groups.setdefault("/".join([kind, *parts]), []).append(cell)
    if FIGURES[kind].masks:
        groups = {
            name: group
            for name, group in groups.items()
            if any(has_masks(cell.attack, cell.dropout_rate) for cell in group)
        }
    if FIGURES[kind].compares_scenarios:
        groups = {name: group for name, group in groups.items() if len({cell.scenario for cell in group}) > 1}
    return groups


def has_masks(attack: str, dropout_rate: str) -> bool:
    """Tell whether rows of a cell have masks that the attack optimised."""
    return ATTACKS[attack].optimises_masks and float(dropout_rate) > 0
