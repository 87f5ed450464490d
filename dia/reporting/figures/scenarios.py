"""Scores by scenario: what a change of settings does to each attack."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dia.reporting.figures.rates import COLUMNS, chance_entries, chance_lines, estimates, set_score_limits
from dia.reporting.figures.rows import read_rows
from dia.reporting.figures.style import attack_entries, attack_style, legend, panel_grid, set_panel_title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_SPREAD = 0.5  # share of the space between two scenarios that all attacks take together
_SCENARIO_WIDTH = 0.55  # inches


def scenarios(results: str | Path, expected: "pd.DataFrame", *, dataset: str, model: str) -> "Figure":
    """Draw SSIM of every scenario side by side: a panel per rate, a marker with its interval per attack.

    Raises:
        RecordError: There are no such rows.
    """
    rows = read_rows(results, expected, COLUMNS, {"dataset": dataset, "model": model})
    names, found, attacks = rows.planned("scenario"), rows.planned("dropout_rate"), rows.planned("attack")
    figure, grid = panel_grid(
        1, len(found), f"SSIM by scenario: {dataset}, {model}",
        rows.note("Bars: 95% intervals over seeds and victims"),
        panel=(max(1.9, 0.6 + _SCENARIO_WIDTH * len(names)), 2.6), sharey=True,
    )  # fmt: skip
    for axes, rate in zip(grid[0], found, strict=True):
        set_panel_title(axes, f"p = {rate}")
        chance_lines(axes, rows.at(dropout_rate=rate), "ssim")
        for number, attack in enumerate(attacks):
            here = rows.at(dropout_rate=rate, attack=attack)
            there = [name for name in names if (here["scenario"] == name).any()]
            if not there:
                continue
            means, reach = estimates([here[here["scenario"] == name] for name in there], "ssim")
            shift = ((number + 0.5) / len(attacks) - 0.5) * _SPREAD
            _, tint, marker = attack_style(attack)
            axes.errorbar(
                np.array([names.index(name) for name in there]) + shift, means, yerr=reach, color=tint,
                marker=marker, markersize=4, linestyle="", elinewidth=1.0, capsize=1.8, capthick=0.9,
            )  # fmt: skip
        axes.set_xticks(
            range(len(names)), [name.replace("_", " ") for name in names], rotation=40, ha="right"
        )
        axes.set_xlim(-0.6, len(names) - 0.4)
        set_score_limits(axes, "ssim")
    legend(figure, [*attack_entries(attacks), *chance_entries(rows)])
    return figure
