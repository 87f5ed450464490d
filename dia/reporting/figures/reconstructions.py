"""Reconstructions of a few victims: the original, then each attack's image, side by side for every dropout rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dia.errors import RecordError
from dia.jobs.attack_job import AttackJob
from dia.reporting.figures.style import FONT_SIZE, GREY, SMALL, attack_style, new_figure
from dia.results.cell_file import read_pictures
from dia.results.job_list import split_by_existence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FOOTNOTE = "Below each image: its SSIM."


@dataclass(frozen=True, slots=True)
class _Layout:
    """Positions of all parts, in inches from the top left corner: a group of columns per rate, a column per attack.

    Attributes:
        groups: Dropout rates.
        columns: Attacks, in each group.
        lines: Victims.
        title_length: Characters of the title.
        image: Side of an image.
        score: Room for the score below an image.
        gap: Between the columns of a group.
        group_gap: Between groups.
        head: Room for the title and the headings.
        foot: Room for the footnote.
        margin: Left and right of everything.
        narrowest: Least width: room for the footnote.
        letter: Width of a letter of the title.
        bold_letter: Width of a letter of an attack's name.
    """

    groups: int
    columns: int
    lines: int
    title_length: int
    image: float = 0.62
    score: float = 0.17
    gap: float = 0.07
    group_gap: float = 0.2
    head: float = 0.72
    foot: float = 0.24
    margin: float = 0.12
    narrowest: float = 2.4
    letter: float = 0.09
    bold_letter: float = 0.083

    @property
    def group_width(self) -> float:
        return self.columns * (self.image + self.gap) - self.gap

    @property
    def width(self) -> float:
        images = self.image + self.groups * (self.group_gap + self.group_width)
        return max(self.narrowest, 2 * self.margin + max(self.title_length * self.letter, images))

    @property
    def height(self) -> float:
        return self.head + self.lines * (self.image + self.score) + self.foot

    def left(self, group: int, column: int = 0) -> float:
        """The left side of a column of a group."""
        start = self.margin + self.image + self.group_gap + group * (self.group_width + self.group_gap)
        return start + column * (self.image + self.gap)

    def top(self, line: int) -> float:
        """The upper side of a line of images."""
        return self.head + line * (self.image + self.score)

    def name_size(self, name: str) -> float:
        """The font size in which an attack's name is no wider than its column."""
        return min(FONT_SIZE, FONT_SIZE * (self.image + self.gap) / (len(name) * self.bold_letter))


def reconstructions(jobs: Sequence[tuple[AttackJob, Path]], victims: int = 4) -> "Figure":
    """Draw the first victims of one (scenario, dataset, model, seed) under all its rates and attacks.

    Args:
        jobs: The cells' jobs with their files; a file that does not exist leaves blank panels.
        victims: Number of victims to show, a row each; of a batch its first image.

    Raises:
        RecordError: No cell has a file, a file is damaged, cells of several grids are mixed, or the cells
            attacked different images.
    """
    cells = [job.cell for job, _ in jobs]
    if len({(c.scenario, c.dataset, c.model, c.seed) for c in cells}) != 1:
        raise RecordError("a figure of reconstructions shows one scenario, dataset, model and seed")
    here, _ = split_by_existence(list(jobs))
    if not here:
        raise RecordError(f"none of the figure's {len(cells)} cells has a result file, such as {jobs[0][1]}")
    pictures = {
        (job.cell.dropout_rate, job.cell.attack): read_pictures(path, job, victims) for job, path in here
    }
    originals = _common_originals(here, pictures)
    rates = sorted({c.dropout_rate for c in cells}, key=float)
    attacks = list(dict.fromkeys(c.attack for c in cells))
    first = here[0][0].cell
    title = f"{first.dataset}, {first.model} ({first.scenario})"
    page = _Page(_Layout(len(rates), len(attacks), len(originals), len(title)))
    layout = page.layout
    page.text(layout.margin, 0.16, title, ha="left", weight="bold", fontsize=FONT_SIZE + 1)
    page.text(layout.margin + layout.image / 2, layout.head - 0.12, "original")
    for line, image in enumerate(originals):
        _show(page.panel(layout.margin, line), image)
    for group, rate in enumerate(rates):
        _draw_group(page, group, rate, {attack: pictures.get((rate, attack)) for attack in attacks})
    page.text(layout.margin, layout.height - 0.12, _FOOTNOTE, ha="left", fontsize=SMALL, color=GREY)
    return page.figure


class _Page:
    """A figure on which things are placed in inches from the top left corner."""

    def __init__(self, layout: _Layout) -> None:
        self.layout = layout
        self.figure = new_figure(layout.width, layout.height)

    def fraction(self, x: float, y: float) -> tuple[float, float]:
        """A place as matplotlib counts it: fractions of the figure from the bottom left corner."""
        return x / self.layout.width, 1 - y / self.layout.height

    def text(self, x: float, y: float, content: str, **style: Any) -> None:
        """Text around a place."""
        self.figure.text(*self.fraction(x, y), content, **({"ha": "center", "va": "center"} | style))

    def line(self, start: float, end: float, y: float) -> None:
        """A thin horizontal line."""
        from matplotlib.lines import Line2D

        (left, height), (right, _) = self.fraction(start, y), self.fraction(end, y)
        self.figure.add_artist(Line2D((left, right), (height, height), linewidth=0.6, color=GREY))

    def panel(self, x: float, line: int) -> "Axes":
        """The frame of an image in a line."""
        side = self.layout.image
        corner = self.fraction(x, self.layout.top(line) + side)
        box = (*corner, side / self.layout.width, side / self.layout.height)
        axes = self.figure.add_axes(box, xticks=[], yticks=[])
        axes.spines[:].set(linewidth=0.4, color=GREY)
        return axes


def _draw_group(page: _Page, group: int, rate: str, victims: dict[str, list[dict[str, Any]] | None]) -> None:
    """Draw the reconstructions at one dropout rate: a column per attack, whose victims are None without a file."""
    layout, left = page.layout, page.layout.left(group)
    page.text(left + layout.group_width / 2, layout.head - 0.38, f"p = {rate}", weight="bold")
    page.line(left, left + layout.group_width, layout.head - 0.25)
    for column, (attack, found) in enumerate(victims.items()):
        _draw_column(page, layout.left(group, column), attack, found or [])


def _draw_column(page: _Page, x: float, attack: str, victims: Sequence[dict[str, Any]]) -> None:
    """Draw an attack's reconstructions with their scores; panels of victims that it does not have say so."""
    layout, style = page.layout, attack_style(attack)
    middle = x + layout.image / 2
    page.text(
        middle, layout.head - 0.12, style.name, color=style.colour, weight="bold", fontsize=layout.name_size(style.name)
    )  # fmt: skip
    for line in range(layout.lines):
        axes = page.panel(x, line)
        if line >= len(victims):
            axes.text(0.5, 0.5, "missing", ha="center", va="center", fontsize=SMALL, color=GREY)
            continue
        _show(axes, _first(victims[line]["reconstruction"]))
        if (scores := victims[line]["ssim_per_image"]) is not None:
            below = layout.top(line) + layout.image + layout.score / 2
            page.text(middle, below, f"{scores[0]:.2f}", fontsize=SMALL, color=GREY)


def _common_originals(
    jobs: Sequence[tuple[AttackJob, Path]], pictures: dict[tuple[str, str], list[dict[str, Any]]]
) -> list[np.ndarray | None]:
    """The first image (C, H, W) of each victim, which all cells must share; None where nobody has it."""
    longest = max(pictures.values(), key=len)
    originals = [_first(victim["original"]) for victim in longest]
    for job, path in jobs:
        for victim, image in zip(pictures[job.cell.dropout_rate, job.cell.attack], originals, strict=False):
            found = _first(victim["original"])
            same = found is image if found is None or image is None else np.array_equal(found, image)
            if not same:
                raise RecordError(
                    f"{path}: victim {victim['victim_id']} is another image than in other cells: the victim "
                    "set changed between them; run them again"
                )
    return originals


def _first(images: np.ndarray | None) -> np.ndarray | None:
    """The first of a victim's images (N, C, H, W); None where there are none."""
    return None if images is None else images[0]


def _show(axes: "Axes", image: np.ndarray | None) -> None:
    """Draw one image (C, H, W) in [0, 1] without smoothing; n/a where there is none."""
    if image is None:  # nobody has it, the attack does not apply, or the victim failed
        axes.text(0.5, 0.5, "n/a", ha="center", va="center", fontsize=SMALL, color=GREY)
        return
    pixels = np.clip(image, 0, 1).transpose(1, 2, 0)
    grey = pixels.shape[-1] == 1
    axes.imshow(pixels[..., 0] if grey else pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
