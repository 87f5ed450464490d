"""Privacy against utility: what an attack recovers beside what the attacked model is worth."""

from pathlib import Path
from typing import TYPE_CHECKING

from dia.figures.rates import COLUMNS, chance_entries, chance_lines, estimate
from dia.figures.rows import NothingToShow, read_rows
from dia.figures.style import SMALL, attack_handle, chart, colour, legend, mark_panel, marker

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def privacy_utility(results: str | Path, expected: "pd.DataFrame") -> "Figure":
    """Draw SSIM against the trained model's test accuracy: a point for each attack, scenario and rate.

    A defence is worth its price where its points lie low and far right: little recovered, accuracy kept.

    Raises:
        NothingToShow: No cell attacks a trained model.
    """
    rows = read_rows(results, expected, [*COLUMNS, "test_accuracy"], {})
    trained = rows.frame[rows.frame["test_accuracy"].notna()]
    if not len(trained):
        raise NothingToShow(f"{results}: has no cell that attacks a trained model (setting federated_rounds)")
    panels = list(dict.fromkeys(zip(trained["dataset"], trained["model"], strict=True)))
    note = "Bars: 95% intervals over seeds and victims; beside a group of points: scenario and dropout rate"
    note += f"; {done}" if (done := rows.completeness()) else ""
    figure, grid = chart(1, len(panels), "Privacy against utility", note, panel=(3.4, 2.9), sharey=True)
    for axes, (dataset, model) in zip(grid[0], panels, strict=True):
        mark_panel(axes, f"{dataset}, {model}")
        here = trained[(trained["dataset"] == dataset) & (trained["model"] == model)]
        chance_lines(axes, here, "ssim")
        for (scenario, rate), group in here.groupby(["scenario", "dropout_rate"], sort=False):
            accuracy, top = float(group["test_accuracy"].mean()), 0.0
            for attack, shown in group.groupby("attack", sort=False):
                value, low, high = estimate(shown, "ssim")
                reach = [[max(0.0, value - low)], [max(0.0, high - value)]] if low == low else None
                axes.errorbar(
                    accuracy, value, yerr=reach, color=colour(str(attack)), marker=marker(str(attack)), markersize=4.5,
                    linestyle="", elinewidth=1.0, capsize=1.8,
                )  # fmt: skip
                top = max(top, value)
            axes.annotate(
                f"{scenario}, {rate}", (accuracy, top), (4, 4), textcoords="offset points", fontsize=SMALL - 1.5,
                rotation=35,
            )  # fmt: skip
        axes.set_xlabel("test accuracy of the model")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.margins(x=0.2)
    grid[0, 0].set_ylabel("SSIM of the reconstruction")
    grid[0, 0].set_ylim(min(-0.04, grid[0, 0].get_ylim()[0]), 1.1)
    attacks = [a for a in rows.planned("attack") if a in set(trained["attack"])]
    legend(figure, [*((attack_handle(a), a.upper()) for a in attacks), *chance_entries(rows)])
    return figure
