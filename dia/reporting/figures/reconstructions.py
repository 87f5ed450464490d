"""Reconstructions: original | ig | wiig | dia of a few victims, side by side for every dropout rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dia.errors import RecordError
from dia.jobs.cell import Cell
from dia.reporting.figures.style import FONT_SIZE, GREY, SMALL, attack_style, new_figure
from dia.results import existing, read_pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_IMAGE = 0.62  # inches, side of an image
_BELOW = 0.17  # room for the score
_GAP = 0.07
_GROUP_GAP = 0.2  # between dropout rates
_HEAD = 0.72
_MARGIN = 0.12
_NARROWEST = 2.4  # room for the footnote
_LETTER = 0.09  # of the title
_BOLD = 0.083  # of an attack's name


def reconstructions(cells: Sequence[tuple[Cell, Path]], victims: int = 4) -> "Figure":
    """Draw the first victims of one (scenario, dataset, model, seed) under all its rates and attacks.

    Args:
        cells: The cells with their files; a file that does not exist leaves blank panels.
        victims: How many victims to show, a row each; of a batch its first image.

    Raises:
        RecordError: No cell has a file, a file is damaged, cells of several grids are mixed, or the cells
            attacked different images.
    """
    if len({(c.scenario, c.dataset, c.model, c.seed) for c, _ in cells}) != 1:
        raise RecordError("a figure of reconstructions shows one scenario, dataset, model and seed")
    here, _ = existing(list(cells))
    if not here:
        raise RecordError(f"none of the figure's {len(cells)} cells has a result file, such as {cells[0][1]}")
    pictures = {(c.dropout_rate, c.attack): read_pictures(path, c, victims) for c, path in here}
    originals = _common_originals(here, pictures)
    rates = sorted({c.dropout_rate for c, _ in cells}, key=float)
    attacks = list(dict.fromkeys(c.attack for c, _ in cells))

    from matplotlib.lines import Line2D

    group = len(attacks) * (_IMAGE + _GAP) - _GAP
    first = here[0][0]
    title = f"{first.dataset}, {first.model} ({first.scenario})"
    width = max(
        _NARROWEST,
        2 * _MARGIN + len(title) * _LETTER,
        2 * _MARGIN + _IMAGE + len(rates) * (_GROUP_GAP + group),
    )
    height = _HEAD + len(originals) * (_IMAGE + _BELOW) + 0.24
    figure = new_figure(width, height)

    def text(x: float, y: float, content: str, **style: Any) -> None:
        figure.text(x / width, 1 - y / height, content, **({"ha": "center", "va": "center"} | style))

    def panel(x: float, line: int) -> "Axes":
        top = _HEAD + line * (_IMAGE + _BELOW)
        box = (x / width, 1 - (top + _IMAGE) / height, _IMAGE / width, _IMAGE / height)
        axes = figure.add_axes(box, xticks=[], yticks=[])
        axes.spines[:].set(linewidth=0.4, color=GREY)
        return axes

    text(_MARGIN, 0.16, title, ha="left", weight="bold", fontsize=FONT_SIZE + 1)
    text(_MARGIN + _IMAGE / 2, _HEAD - 0.12, "original")
    for line, image in enumerate(originals):
        _show(panel(_MARGIN, line), image)
    for number, rate in enumerate(rates):
        left = _MARGIN + _IMAGE + _GROUP_GAP + number * (group + _GROUP_GAP)
        text(left + group / 2, _HEAD - 0.38, f"p = {rate}", weight="bold")
        ends, y = (left / width, (left + group) / width), 1 - (_HEAD - 0.25) / height
        figure.add_artist(Line2D(ends, (y, y), linewidth=0.6, color=GREY))
        for position, attack in enumerate(attacks):
            x = left + position * (_IMAGE + _GAP)
            name, tint, _ = attack_style(attack)
            size = min(FONT_SIZE, FONT_SIZE * (_IMAGE + _GAP) / (len(name) * _BOLD))
            text(x + _IMAGE / 2, _HEAD - 0.12, name, color=tint, weight="bold", fontsize=size)
            found = pictures.get((rate, attack))
            for line in range(len(originals)):
                axes = panel(x, line)
                if found is None or line >= len(found):
                    axes.text(0.5, 0.5, "missing", ha="center", va="center", fontsize=SMALL, color=GREY)
                    continue
                _show(axes, found[line]["reconstruction"][0])
                score = found[line]["ssim_per_image"][0]
                y = _HEAD + line * (_IMAGE + _BELOW) + _IMAGE + _BELOW / 2
                text(x + _IMAGE / 2, y, f"{score:.2f}", fontsize=SMALL, color=GREY)
    text(_MARGIN, height - 0.12, "Below each image: its SSIM.", ha="left", fontsize=SMALL, color=GREY)
    return figure


def _common_originals(
    cells: Sequence[tuple[Cell, Path]], pictures: dict[tuple[str, str], list[dict[str, Any]]]
) -> list[np.ndarray]:
    """The first image (C, H, W) of each victim, which all cells must share."""
    longest = max(pictures.values(), key=len)
    originals = [victim["original"][0] for victim in longest]
    for cell, path in cells:
        for victim, image in zip(pictures[cell.dropout_rate, cell.attack], originals, strict=False):
            if not np.array_equal(victim["original"][0], image):
                raise RecordError(
                    f"{path}: victim {victim['victim_id']} is another image than in other cells: the victim "
                    "set changed between them; run them again"
                )
    return originals


def _show(axes: "Axes", image: np.ndarray) -> None:
    """Draw one image (C, H, W) in [0, 1] without smoothing."""
    pixels = np.clip(image, 0, 1).transpose(1, 2, 0)
    grey = pixels.shape[-1] == 1
    axes.imshow(pixels[..., 0] if grey else pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
