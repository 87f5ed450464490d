"""Mask recovery over the iterations: how many of the client's dropped units the attack finds, beside chance."""

from pathlib import Path
from typing import TYPE_CHECKING

from dia.reporting.figures.curves import draw_median
from dia.reporting.figures.rows import read_rows
from dia.reporting.figures.style import GREY, attack_style, legend, legend_handle, panel_grid, set_panel_title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TINTS = ("#56B4E9", "#0072B2", "#CC79A7", "#D55E00", "#000000")
"""Okabe and Ito's colours for the rates, from light to dark."""
_MOST_ACROSS = 4
"""Most panels in a row: wider figures are unreadable on a page."""


def masks(results: str | Path, expected: "pd.DataFrame", *, scenario: str, attack: str) -> "Figure":
    """Draw the accuracy of an attack's masks over the iterations: a panel per (dataset, model), a line per rate.

    Raises:
        RecordError: There are no such rows.
    """
    columns = ["history_iteration", "history_mask_accuracy", "mask_accuracy_chance"]
    sought = expected[(expected["attack"] == attack) & (expected["dropout_rate"].astype(float) > 0)]
    rows = read_rows(results, sought, columns, {"scenario": scenario, "attack": attack})
    panels, rates = rows.panels(), rows.planned("dropout_rate")
    note = rows.note("Median and quartiles over victims and seeds")
    # Masks are found early: logarithmic, but linear up to the first sample.
    first = max(1, min(int(i[1]) for i in rows.frame["history_iteration"] if len(i) > 1))
    across = min(_MOST_ACROSS, len(panels))
    down = -(-len(panels) // across)
    title = f"Mask recovery by {attack_style(attack).name} ({scenario})"
    figure, grid = panel_grid(down, across, title, note, panel=(2.6, 2.1), sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (dataset, model) in zip(grid.flat, panels, strict=False):
        set_panel_title(axes, f"{dataset}, {model}")
        for number, rate in enumerate(rates):
            here = rows.at(dataset=dataset, model=model, dropout_rate=rate)
            if len(here):
                tint = TINTS[number % len(TINTS)]
                draw_median(axes, here, "history_mask_accuracy", tint)
                chance = here["mask_accuracy_chance"].astype(float).mean()
                axes.axhline(chance, color=tint, linewidth=1.0, linestyle=(2 * number, (2, 4)))
        axes.set_xscale("symlog", linthresh=first)
        axes.set_xlim(0, None)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("iteration")
    for axes in grid[:, 0]:
        axes.set_ylabel("mask accuracy")
    grid[0, 0].set_ylim(None, 1.015)
    entries = [(legend_handle(TINTS[n % len(TINTS)]), f"p = {rate}") for n, rate in enumerate(rates)]
    legend(figure, [*entries, (legend_handle(GREY, (0, (2, 4)), width=1.0), "chance")])
    return figure
