"""Scores against the dropout rate: what dropout does to each attack, with intervals and chance levels."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dia.reporting.figures.rows import Rows, read_rows
from dia.reporting.figures.style import (
    GREY,
    attack_entries,
    attack_style,
    legend,
    legend_handle,
    panel_grid,
    set_panel_title,
)
from dia.reporting.intervals import Estimate, bootstrap, success_rate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCORES = (("ssim", "SSIM"), ("psnr", "PSNR (dB)"), ("success", "success rate"))
"""Columns of the results with their names, a column of panels for each."""

CHANCE = (("mean_image", "mean image", (0, (4, 2))), ("same_class", "same-class image", (0, (1, 1.5))))
"""Chance levels: suffix of their columns, name, dashes."""

COLUMNS = [
    *(name for name, _ in SCORES),
    "batch_size",
    *(f"{name}_{level}" for name, _ in SCORES[:2] for level, _, _ in CHANCE),
]


def rates(results: str | Path, expected: "pd.DataFrame", *, scenario: str) -> "Figure":
    """Draw each score against p: a row of panels per (dataset, model), a line per attack.

    Args:
        results: The collected Parquet file.
        expected: The cells of the config.
        scenario: The scenario to show.

    Raises:
        RecordError: There are no rows of the scenario.
    """
    rows = read_rows(results, expected, COLUMNS, {"scenario": scenario})
    panels = rows.panels()
    note = rows.note("Bars: 95% intervals over seeds and victims")
    figure, grid = panel_grid(
        len(panels), len(SCORES), f"Scores by dropout rate ({scenario})", note, sharex=True
    )
    attacks = rows.planned("attack")
    for line, (dataset, model) in zip(grid, panels, strict=True):
        here = rows.at(dataset=dataset, model=model)
        for axes, (column, label) in zip(line, SCORES, strict=True):
            set_panel_title(axes, f"{dataset}, {model}: {label}")
            draw_score(axes, here, attacks, column)
    label_rates(grid, rows)
    legend(figure, [*attack_entries(attacks), *chance_entries(rows)])
    return figure


def draw_score(axes: "Axes", rows: "pd.DataFrame", attacks: Sequence[str], column: str) -> None:
    """Draw a score's chance levels and a line for each attack, beside each other."""
    chance_lines(axes, rows, column)
    for number, attack in enumerate(attacks):
        shift = (number - (len(attacks) - 1) / 2) * 0.008
        draw_attack(axes, rows[rows["attack"] == attack], attack, column, shift)
    set_score_limits(axes, column)


def label_rates(grid: np.ndarray, rows: Rows) -> None:
    """Write the dropout rates below panels that share their x axis."""
    for axes in grid[-1]:
        axes.set_xlabel("dropout rate p")
    ticks = [float(rate) for rate in rows.planned("dropout_rate")]
    grid[0, 0].set_xticks(ticks, [f"{t:g}" for t in ticks])


def draw_attack(
    axes: "Axes", rows: "pd.DataFrame", attack: str, column: str, shift: float, over: str = "p"
) -> None:
    """Draw one attack's line: an estimate with its interval for each value of ``over``."""
    groups = sorted(rows.groupby(over))
    if not groups:
        return
    x = np.array([float(value) for value, _ in groups]) + shift  # type: ignore[arg-type]
    means, reach = estimates([group for _, group in groups], column)
    _, tint, marker = attack_style(attack)
    axes.errorbar(
        x, means, yerr=reach, color=tint, marker=marker, markersize=3.6, linewidth=1.3, elinewidth=1.0, capsize=1.8,
        capthick=0.9,
    )  # fmt: skip


def estimates(groups: "Sequence[pd.DataFrame]", column: str) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each group (G,), and how far its interval reaches down and up (2, G); 0 where there is none."""
    values = np.array([estimate(group, column) for group in groups], dtype=float)
    return values[:, 0], np.nan_to_num(np.abs(values[:, 1:] - values[:, :1]).T)


def estimate(rows: "pd.DataFrame", column: str) -> Estimate:
    """The mean of a column with its interval: Wilson's over images for the success rate."""
    if column == "success":
        return success_rate(rows[column].to_numpy(), rows["batch_size"].to_numpy())
    return bootstrap(rows[column].to_numpy(dtype=float), rows["seed"].to_numpy())


def set_score_limits(axes: "Axes", column: str) -> None:
    """Set the y axis to the natural range of a score."""
    if column == "success":
        axes.set_ylim(-0.04, 1.04)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    elif column == "ssim":
        axes.set_ylim(min(-0.04, axes.get_ylim()[0]), 1.04)


def chance_lines(axes: "Axes", rows: "pd.DataFrame", column: str) -> None:
    """Draw the chance levels of a score: what a guess without any gradient reaches."""
    for level, _, dashes in CHANCE:
        name = f"{column}_{level}"
        if name in rows and rows[name].notna().any():
            axes.axhline(
                rows[name].astype(float).mean(), color=GREY, linewidth=1.0, linestyle=dashes, zorder=1
            )


def chance_entries(rows: Rows) -> list[tuple[object, str]]:
    """Legend entries of the chance levels that are drawn."""
    there = [entry for entry in CHANCE if rows.frame[f"ssim_{entry[0]}"].notna().any()]
    return [(legend_handle(GREY, dashes, width=1.0), name) for _, name, dashes in there]
