"""Attacks on gradients that lack some layers' parts: an answer or a reason, for each layer that may be frozen."""

from pathlib import Path

import pytest

from dia.config.config import Config
from dia.config.jobs import attack_job
from dia.datasets.victim_selection import make_victims
from dia.execution.run_cell import run_cell

SOURCE = """
from torch import nn

def net(frozen):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 12), nn.ReLU(),
                          nn.Dropout(), nn.Linear(12, 10))
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    return model
"""
FROZEN = [["1.weight"], ["4.weight"], ["7.weight"], ["1.bias"], ["7.bias"], ["1.weight", "4.weight"]]


@pytest.mark.parametrize("frozen", FROZEN, ids="+".join)
def test_every_attack_ends_with_an_answer_or_a_reason(
    frozen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"frozen_{len(frozen)}_{frozen[0].replace('.', '_')}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    grid = {"datasets": ["d"], "models": ["m"], "dropout_rates": ["0.5"], "seeds": [0]}
    config = Config.load(
        {
            "name": "frozen",
            "datasets": {"d": {"source": "bundled-mnist", "images": 1}},
            "models": {
                "m": {
                    "factory": f"module:frozen_{len(frozen)}_{frozen[0].replace('.', '_')}.net",
                    "arguments": {"frozen": frozen},
                }
            },
            "scenarios": {"default": {"victims": 1, "max_iterations": 2, "precision": "float64"}},
            "grids": [grid | {"attacks": ["analytic", "dia_readout", "wiig"]}],
        }
    )
    victims = make_victims(config.datasets["d"], "d")
    for cell in config.cells:
        (row,) = run_cell(attack_job(config, cell), victims, device="cpu", threads=1, victims_per_chunk=None)
        if cell.attack == "analytic" and "1.weight" in frozen:
            assert row["stop_reason"] == "not_applicable: the gradient of 1.weight was not sent (frozen)"
            assert row["ssim"] is None
        else:
            assert row["ssim"] is not None
        if row["claimed_fraction"] == 1:
            assert row["mse"] < 1e-6
