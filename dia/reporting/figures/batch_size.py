"""Scores against the number of images in a private batch: does a larger batch protect?"""

from pathlib import Path
from typing import TYPE_CHECKING

from dia.errors import RecordError
from dia.reporting.figures.rates import COLUMNS, chance_entries, chance_lines, draw_attack, set_score_limits
from dia.reporting.figures.rows import read_rows
from dia.reporting.figures.style import attack_entries, legend, panel_grid, set_panel_title
from dia.settings.scenario import Settings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def batch_size(results: str | Path, expected: "pd.DataFrame") -> "Figure":
    """Draw SSIM against the batch size: a row of panels per (dataset, model), a column per rate, a line per attack.

    Raises:
        RecordError: There are no rows, or scenarios differ in more than the batch size.
    """
    others = [name for name in Settings.model_fields if name not in ("batch_size", "victims")]
    for _, cells in expected.groupby(["model", "batch_size"]):
        if differ := [name for name in others if cells[name].nunique(dropna=False) > 1]:
            raise RecordError(
                f"a figure of batch sizes compares scenarios that differ in nothing else; these differ in "
                f"{', '.join(differ)}: leave batch_size out of `figures`"
            )
    rows = read_rows(results, expected, COLUMNS, {})
    panels, found, attacks = rows.panels(), rows.planned("dropout_rate"), rows.planned("attack")
    sizes = sorted(expected["batch_size"].unique())
    note = rows.note("Bars: 95% intervals over seeds and victims")
    figure, grid = panel_grid(
        len(panels), len(found), "SSIM by images in the private batch", note, sharex=True, sharey="row"
    )
    for line, (dataset, model) in zip(grid, panels, strict=True):
        for axes, rate in zip(line, found, strict=True):
            here = rows.at(dataset=dataset, model=model, dropout_rate=rate)
            set_panel_title(axes, f"{dataset}, {model}, p = {rate}")
            chance_lines(axes, here, "ssim")
            for attack in attacks:
                draw_attack(axes, here[here["attack"] == attack], attack, "ssim", 0.0, over="batch_size")
            set_score_limits(axes, "ssim")
    for axes in grid[-1]:
        axes.set_xlabel("images in a batch")
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
    legend(figure, [*attack_entries(attacks), *chance_entries(rows)])
    return figure
