"""The figure of privacy against utility: a column per attack, a line per scenario, a point per rate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import result_rows

from dia.config.config import Config
from dia.reporting.expected_cells import expected_cells
from dia.reporting.figures.privacy_utility import privacy_utility
from dia.reporting.figures.rows import NothingToShow
from dia.results.collected import collect


def made(scenarios: dict[str, Any]) -> Config:
    """ig and dia at two rates in each scenario."""
    axes = {"datasets": ["mnist"], "models": ["mlp"], "dropout_rates": ["0", "0.5"], "seeds": [0]}
    return Config.load(
        {
            "name": "made-up",
            "datasets": {"mnist": {"source": "bundled-mnist", "images": 16}},
            "scenarios": scenarios,
            "grids": [axes | {"scenario": name, "attacks": ["ig", "dia"]} for name in scenarios],
        }
    )


def test_a_line_a_scenario_through_its_rates_for_each_attack(tmp_path: Path) -> None:
    trained = {"victims": 2, "federated_rounds": 1}
    config = made({"plain": trained, "noisy": trained | {"defence_noise_std": 0.1}})
    ssim = {cell: 0.1 * number for number, cell in enumerate(config.cells)}
    accuracy = {cell: 0.8 - 0.1 * cell.p - 0.1 * (cell.scenario == "noisy") for cell in config.cells}
    written = [
        result_rows.made(tmp_path, cell, [ssim[cell], ssim[cell]], test_accuracy=accuracy[cell])
        for cell in config.cells
    ]
    collect(written, tmp_path / "results.parquet")
    figure = privacy_utility(tmp_path / "results.parquet", expected_cells(config))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["mnist, mlp: IG", "mnist, mlp: DIA"]
    for axes, attack in zip(figure.axes, ("ig", "dia"), strict=True):
        lines = [bars.lines[0].get_xydata() for bars in axes.containers]
        cells = [
            [c for c in config.cells if (c.attack, c.scenario) == (attack, scenario)]
            for scenario in ("plain", "noisy")
        ]
        assert np.allclose(lines, [[(accuracy[c], ssim[c]) for c in line] for line in cells])
    told = [[text.get_text() for text in box.get_texts()] for box in figure.legends]
    assert told == [["p = 0", "p = 0.5", "mean image", "same-class image"], ["plain", "noisy"]]


def test_untrained_models_have_no_utility_to_show(tmp_path: Path) -> None:
    config = made({"default": {"victims": 2}})
    collect([result_rows.made(tmp_path, cell) for cell in config.cells], tmp_path / "results.parquet")
    with pytest.raises(NothingToShow, match="no cell that attacks a trained model"):
        privacy_utility(tmp_path / "results.parquet", expected_cells(config))
