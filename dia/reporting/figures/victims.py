"""The distribution of a score over the victims: a mean hides the victims that leak completely."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dia.reporting.figures.rates import COLUMNS, chance_entries, chance_lines
from dia.reporting.figures.rows import read_rows
from dia.reporting.figures.style import attack_entries, attack_style, legend, panel_grid, set_panel_title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_GROUP_WIDTH = 0.78  # share of the space between two rates that all attacks take together
_ATTACK_WIDTH = 0.38  # inches for the points of an attack


def victims(
    results: str | Path, expected: "pd.DataFrame", *, scenario: str, dataset: str, model: str
) -> "Figure":
    """Draw every victim's SSIM by rate and attack, with median and quartiles.

    Raises:
        RecordError: There are no such rows.
    """
    where = {"scenario": scenario, "dataset": dataset, "model": model}
    rows = read_rows(results, expected, [*COLUMNS, "victim_id", "success_min_ssim"], where)
    found, attacks = rows.planned("dropout_rate"), rows.planned("attack")
    note = rows.note("One point per victim; line: median; box: quartiles; solid grey: success from here on")
    figure, grid = panel_grid(
        1, 1, f"Victims: {dataset}, {model} ({scenario})", note,
        panel=(max(4.4, _ATTACK_WIDTH * len(attacks) * len(found)), 2.3),
    )  # fmt: skip
    own = _GROUP_WIDTH / len(attacks)
    axes = grid[0, 0]
    set_panel_title(axes, "SSIM")
    chance_lines(axes, rows.frame, "ssim")
    axes.axhline(float(rows.frame["success_min_ssim"].iloc[0]), color="#b0b0b0", linewidth=1.0, zorder=1)
    for place, rate in enumerate(found):
        for number, attack in enumerate(attacks):
            _, tint, marker = attack_style(attack)
            values = np.sort(rows.at(dropout_rate=rate, attack=attack)["ssim"].dropna().to_numpy())
            if not len(values):
                continue
            middle = place + (number - (len(attacks) - 1) / 2) * own
            # Neighbours in value stand apart: the same points give the same picture, without a random jitter.
            spread = ((np.arange(len(values)) * 0.618) % 1 - 0.5) * own * 0.6
            axes.plot(
                middle + spread, values, linestyle="", marker=marker, markersize=2.6, color=tint,
                alpha=0.55, markeredgewidth=0,
            )  # fmt: skip
            low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
            half = own * 0.4
            axes.fill_between([middle - half, middle + half], low, high, color=tint, alpha=0.2, linewidth=0)
            axes.plot([middle - half, middle + half], [median, median], color=tint, linewidth=1.8)
    axes.set_xticks(range(len(found)), [f"p = {rate}" for rate in found])
    axes.set_ylim(min(-0.04, axes.get_ylim()[0]), 1.04)
    axes.tick_params(axis="x", length=0)
    legend(figure, [*attack_entries(attacks), *chance_entries(rows)])
    return figure
