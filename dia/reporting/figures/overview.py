"""SSIM against the dropout rate for every dataset and model: the answer of an evaluation in one figure."""

from pathlib import Path
from typing import TYPE_CHECKING

from dia.reporting.figures.rates import chance_entries, draw_score, label_rates
from dia.reporting.figures.rows import read_rows
from dia.reporting.figures.style import attack_entries, legend, panel_grid, set_panel_title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("ssim", "ssim_mean_image", "ssim_same_class")


def overview(results: str | Path, expected: "pd.DataFrame", *, scenario: str) -> "Figure":
    """Draw SSIM against p: a row of panels per dataset, a column per model, a line per attack.

    Args:
        results: The collected Parquet file.
        expected: The cells of the config.
        scenario: The scenario to show.

    Raises:
        RecordError: There are no rows of the scenario.
    """
    rows = read_rows(results, expected, COLUMNS, {"scenario": scenario})
    datasets, models, attacks = rows.planned("dataset"), rows.planned("model"), rows.planned("attack")
    note = rows.note("Bars: 95% intervals over seeds and victims")
    title = f"SSIM by dropout rate ({scenario})"
    figure, grid = panel_grid(len(datasets), len(models), title, note, sharex=True, sharey=True)
    for line, dataset in zip(grid, datasets, strict=True):
        for axes, model in zip(line, models, strict=True):
            set_panel_title(axes, f"{dataset}, {model}")
            draw_score(axes, rows.at(dataset=dataset, model=model), attacks, "ssim")
    label_rates(grid, rows)
    legend(figure, [*attack_entries(attacks), *chance_entries(rows)])
    return figure
