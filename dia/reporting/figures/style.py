"""The style that all figures share: attacks, panels, legends, sizes for print, saving."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dia.errors import ConfigError
from dia.utils.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf")


class AttackStyle(NamedTuple):
    """An attack's name in print, its colour, and a marker that tells it apart without colours."""

    name: str
    colour: str
    marker: str


# Okabe and Ito (2008): distinguishable with every common colour blindness, and in print by their lightness.
STYLES = {
    "ig": AttackStyle("IG", "#D55E00", "o"),
    "wiig": AttackStyle("WIIG", "#009E73", "s"),
    "dia": AttackStyle("DIA", "#0072B2", "D"),
    "dia_lbfgs": AttackStyle("DIA-LBFGS", "#000000", "*"),
    "dia_readout": AttackStyle("DIA + zeros", "#56B4E9", "P"),
    "dia_warm": AttackStyle("DIA warm", "#F0E442", "p"),
    "seed_search": AttackStyle("seed_search", "#E69F00", "X"),
    "analytic": AttackStyle("analytic", "#CC79A7", "^"),
}
GREY = "#767676"  # the palest grey that is still readable on white

FONT_SIZE = 9.0  # points, readable when a figure is scaled down to the width of a page
SMALL = 8.0
_LEGEND_LINE = 0.17  # inches
_TITLE_CHARACTER = 0.066  # inches, of a panel's title


def attack_style(attack: str) -> AttackStyle:
    """The style of an attack; an attack without one of its own is grey and goes by its name."""
    return STYLES.get(attack, AttackStyle(attack, "#444444", "v"))


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of a size in inches, in no window system."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rc("font", size=FONT_SIZE, family="DejaVu Sans")  # comes with matplotlib: everywhere the same
    matplotlib.rc("pdf", fonttype=42)  # embedded TrueType: text stays text
    return Figure(figsize=(width, height))


def panel_grid(
    rows: int,
    columns: int,
    title: str,
    note: str = "",
    *,
    panel: tuple[float, float] = (1.9, 1.6),
    **shared: Any,
) -> tuple["Figure", "np.ndarray"]:
    """A figure of equal panels.

    Args:
        rows: Panels down.
        columns: Panels across.
        title: The title, top left.
        note: A small line at the bottom; empty: none.
        panel: Width and height of a panel in inches, with its share of the margins.
        shared: ``sharex``, ``sharey`` of :meth:`matplotlib.figure.Figure.subplots`.

    Returns:
        The figure and its panels (rows, columns).
    """
    width = max(4.4, panel[0] * columns + 0.55)
    figure = new_figure(width, panel[1] * rows + 0.95)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    # The second, empty line is where the legend goes.
    _set_title(figure, f"{title}\n ")
    if note:
        note = textwrap.fill(note, round(15.5 * width))  # characters of this size to an inch
        figure.supxlabel(note, x=0.07 / width, ha="left", fontsize=SMALL, color=GREY)
    panels: np.ndarray = figure.subplots(rows, columns, squeeze=False, **shared)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set(color=GREY, linewidth=0.7)
        axes.tick_params(labelsize=SMALL, color=GREY, width=0.7)
        axes.tick_params(which="minor", length=0, labelsize=SMALL)
        axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, panels


def _set_title(figure: "Figure", title: str) -> None:
    """Top left; lines of a space keep room for a legend below."""
    x = 0.07 / figure.get_figwidth()
    figure.suptitle(title, x=x, ha="left", weight="bold", fontsize=FONT_SIZE + 1)


def legend(figure: "Figure", entries: "Sequence[tuple[Any, str]]") -> None:
    """One legend for all panels below the title: in one line, or in as many as fit the figure's width."""
    handles, labels = zip(*entries, strict=True)
    width, height = figure.get_figwidth(), figure.get_figheight()
    more = 0  # lines besides the one that the title has left empty
    while more + 1 < len(labels) and _legend_width(labels, more + 1) > width - 0.1:
        more += 1
    if more:
        height += more * _LEGEND_LINE
        figure.set_figheight(height)
        _set_title(figure, figure.get_suptitle() + "\n " * more)
    figure.legend(
        handles, labels, loc="upper left", ncols=_columns(labels, more + 1), frameon=False, fontsize=SMALL,
        handlelength=1.8, columnspacing=1.2, borderpad=0, borderaxespad=0,
        bbox_to_anchor=(0.08 / width, 1 - 0.29 / height),
    )  # fmt: skip


def _columns(labels: Sequence[str], lines: int) -> int:
    """The columns of a legend of so many lines."""
    return -(-len(labels) // lines)


def _legend_width(labels: Sequence[str], lines: int) -> float:
    """Inches that a legend of so many lines takes: handle, space and the longest label of each column."""
    import numpy as np

    columns = np.array_split(np.array([len(label) for label in labels]), _columns(labels, lines))
    return sum(0.48 + 0.068 * float(column.max()) for column in columns)  # matplotlib fills it in this way


def legend_handle(colour: str, dashes: Any = "-", marker: str = "", width: float = 1.4) -> Any:
    """A line, a marker or both for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linestyle=dashes, marker=marker, markersize=4, linewidth=width)


def attack_entries(attacks: Sequence[str]) -> list[tuple[Any, str]]:
    """Legend entries of attacks that are drawn with lines and markers."""
    return [
        (legend_handle(shown.colour, marker=shown.marker), shown.name) for shown in map(attack_style, attacks)
    ]


def set_panel_title(axes: "Axes", text: str) -> None:
    """Name a panel above it, in as many lines as its width needs."""
    spec = axes.get_subplotspec()
    columns = spec.get_gridspec().ncols if spec is not None else 1
    figure: Figure = axes.get_figure(root=True)  # type: ignore[assignment]
    width = figure.get_figwidth() / columns - 0.5  # inches, without the labels of the y axis
    text = textwrap.fill(text, max(12, int(width / _TITLE_CHARACTER)))
    axes.set_title(text, fontsize=SMALL + 0.5, loc="left", pad=4)


def placeholder(text: str) -> "Figure":
    """A figure that only holds a text, in place of one without any finished cell."""
    figure = new_figure(4.4, 1.0)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
    return figure


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure atomically, without dates in it: equal results give equal files.

    Raises:
        ConfigError: The suffix is not one of ``FORMATS``.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path}: the suffix of a figure must be one of {', '.join(FORMATS)}")
    metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=220, metadata=metadata)
