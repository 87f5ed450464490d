"""Privacy against utility: an attack's score beside the accuracy of the attacked model."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dia.reporting.figures.rates import COLUMNS, chance_entries, chance_lines, estimates
from dia.reporting.figures.rows import NothingToShow, read_rows
from dia.reporting.figures.style import (
    GREY,
    SMALL,
    attack_style,
    legend,
    legend_handle,
    panel_grid,
    set_panel_title,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008) without yellow, which is too pale for lines, and three of Tol's; then again with other dashes.
_COLOURS = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"),
    *("#882255", "#999933", "#888888"),
)
_STYLES = [(colour, dashes) for dashes, colour in product(("-", (0, (3, 1.5)), (0, (1, 1))), _COLOURS)]
"""Colours and dashes, one pair per scenario."""
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
"""Markers, one per dropout rate."""
_NARROWEST = 0.04
"""Test accuracies closer than this look alike, however far a panel could magnify them."""


def privacy_utility(results: str | Path, expected: "pd.DataFrame") -> "Figure":
    """Draw SSIM against test accuracy: a row of panels per (dataset, model), a column per attack.

    A line is a scenario, a point on it a dropout rate. A defence is worth its price where its points lie low and far
    right: little recovered, accuracy kept.

    Raises:
        NothingToShow: No cell attacks a trained model.
    """
    rows = read_rows(results, expected, [*COLUMNS, "test_accuracy"], {})
    trained = rows.frame[rows.frame["test_accuracy"].notna()]
    if not len(trained):
        raise NothingToShow(f"{results}: has no cell that attacks a trained model (setting federated_rounds)")
    attacks = [a for a in rows.planned("attack") if a in set(trained["attack"])]
    scenarios = [s for s in rows.planned("scenario") if s in set(trained["scenario"])]
    styles = {s: _STYLES[number % len(_STYLES)] for number, s in enumerate(scenarios)}
    markers = {r: _MARKERS[n % len(_MARKERS)] for n, r in enumerate(rows.planned("dropout_rate"))}
    panels = list(dict.fromkeys(zip(trained["dataset"], trained["model"], strict=True)))
    note = rows.note("Bars: 95% intervals over seeds and victims")
    figure, grid = panel_grid(
        len(panels),
        len(attacks),
        "Privacy against utility",
        note,
        panel=(2.5, 2.1),
        sharex="row",
        sharey=True,
    )
    for line, (dataset, model) in zip(grid, panels, strict=True):
        here = trained[(trained["dataset"] == dataset) & (trained["model"] == model)]
        for axes, attack in zip(line, attacks, strict=True):
            set_panel_title(axes, f"{dataset}, {model}: {attack_style(attack).name}")
            chance_lines(axes, here, "ssim")
            for scenario, style in styles.items():
                shown = here[(here["attack"] == attack) & (here["scenario"] == scenario)]
                _draw_scenario(axes, shown, style, markers)
        _widen(line[0])
        line[0].set_ylabel("SSIM")
    for axes in grid[-1]:
        axes.set_xlabel("test accuracy of the model")
    grid[0, 0].set_ylim(min(-0.04, grid[0, 0].get_ylim()[0]), 1.04)
    legend(
        figure,
        [*((legend_handle(GREY, "", m), f"p = {r}") for r, m in markers.items()), *chance_entries(rows)],
    )
    figure.legend(
        [legend_handle(*style) for style in styles.values()], list(styles), loc="outside right upper", title="scenario",
        frameon=False, fontsize=SMALL, title_fontsize=SMALL, alignment="left", handlelength=2.2,
    )  # fmt: skip
    return figure


def _draw_scenario(
    axes: "Axes", rows: "pd.DataFrame", style: tuple[str, Any], markers: dict[str, str]
) -> None:
    """A line through the rates, in ascending order, and a point with its interval at each."""
    here = {rate: rows[rows["dropout_rate"] == rate] for rate in markers}
    groups = {rate: group for rate, group in here.items() if len(group)}
    if not groups:
        return
    colour, dashes = style
    accuracies = [float(group["test_accuracy"].mean()) for group in groups.values()]
    means, reach = estimates(list(groups.values()), "ssim")
    axes.errorbar(
        accuracies,
        means,
        yerr=reach,
        color=colour,
        linestyle=dashes,
        linewidth=1.0,
        elinewidth=0.8,
        capsize=1.5,
    )
    for rate, x, y in zip(groups, accuracies, means, strict=True):
        axes.plot(x, y, color=colour, marker=markers[rate], markersize=4)


def _widen(axes: "Axes") -> None:
    """Show at least ``_NARROWEST`` of the scale of accuracies."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    low, high = axes.get_xlim()
    if high - low < _NARROWEST:
        middle = (low + high) / 2
        axes.set_xlim(middle - _NARROWEST / 2, middle + _NARROWEST / 2)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
