"""Loss and score over the iterations: how fast each attack converges, and to what."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dia.reporting.curves import last_value_carried_forward
from dia.reporting.figures.rows import read_rows
from dia.reporting.figures.style import attack_style, legend, legend_handle, panel_grid, set_panel_title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = (("history_matching_distance", "gradient distance"), ("history_mse", "image MSE"))
"""Columns of the results with their names, a row of panels for each."""


def curves(
    results: str | Path, expected: "pd.DataFrame", *, scenario: str, dataset: str, model: str
) -> "Figure":
    """Draw gradient distance and image error over the iterations: a column of panels per rate, a line per attack.

    Raises:
        RecordError: There are no such rows.
    """
    columns = ["history_iteration", *(name for name, _ in CURVES)]
    where = {"scenario": scenario, "dataset": dataset, "model": model}
    rows = read_rows(results, expected, columns, where)
    found, attacks = rows.planned("dropout_rate"), rows.planned("attack")
    note = rows.note(
        "Median and quartiles over victims and seeds; a victim that has stopped keeps its last value"
    )
    figure, grid = panel_grid(
        len(CURVES),
        len(found),
        f"Convergence: {dataset}, {model} ({scenario})",
        note,
        sharex=True,
        sharey="row",
    )
    for line, (column, label) in zip(grid, CURVES, strict=True):
        line[0].set_ylabel(label)
        line[0].set_yscale("log")
        for axes, rate in zip(line, found, strict=True):
            for number, attack in enumerate(attacks):
                here = rows.at(dropout_rate=rate, attack=attack)
                # Thinner from line to line: where they coincide, as at p = 0, all stay visible.
                draw_median(
                    axes, here, column, attack_style(attack).colour, 1.2 + 0.6 * (len(attacks) - 1 - number)
                )
    for axes, rate in zip(grid[0], found, strict=True):
        set_panel_title(axes, f"p = {rate}")
    for axes in grid[-1]:
        axes.set_xlabel("iteration")
    legend(figure, [(legend_handle(shown.colour), shown.name) for shown in map(attack_style, attacks)])
    return figure


def draw_median(axes: "Axes", rows: "pd.DataFrame", column: str, tint: str, width: float = 1.4) -> None:
    """Draw the median curve of these rows in a band from quartile to quartile."""
    iterations, held = last_value_carried_forward(rows["history_iteration"].tolist(), rows[column].tolist())
    if not len(held):
        return
    low, middle, high = np.quantile(held, [0.25, 0.5, 0.75], axis=0)
    axes.fill_between(iterations, low, high, color=tint, alpha=0.18, linewidth=0)
    axes.plot(iterations, middle, color=tint, linewidth=width)
