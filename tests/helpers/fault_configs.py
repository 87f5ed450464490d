"""A grid whose cells are quick, or long, or fail: what tests of faults and of interruptions share."""

import json
from collections.abc import Sequence
from typing import Any

from helpers.workplace import Workplace

ARGUMENTS = {"shape": [1, 28, 28], "num_classes": "$num_classes", "p": "$dropout_rate"}
SLOW = {"factory": "module:slow_model.Slow", "arguments": ARGUMENTS}


def fragile(**limits: float) -> dict[str, Any]:
    """The definition of such a model in a config."""
    return {"factory": "module:fragile.Fragile", "arguments": ARGUMENTS | limits}


QUICK = {"victims": 2, "max_iterations": 10, "history_points": 5}
LONG = {**QUICK, "max_iterations": 1000, "loss_tolerance": 1e-30}
BAD = {**QUICK, "mask_penalty_weight": 1e308}
FOUR = {**QUICK, "victims": 4}
CELLS = "results/faults/cells"


def grid(scenario: str, *attacks: str, models: Sequence[str] = ("mlp",)) -> dict[str, Any]:
    """Cells of one scenario."""
    axes = {"datasets": ["mnist"], "models": list(models), "dropout_rates": ["0.5"], "seeds": [0]}
    return {"scenario": scenario, **axes, "attacks": list(attacks)}


def mapping(*grids: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A config of these grids."""
    return {
        "name": "faults",
        "datasets": {"mnist": {"source": "bundled-mnist", "images": 4}},
        "models": {"steep": fragile(slope_above=0.3), "broken": fragile(output_above=0.1), "slow": SLOW},
        "scenarios": {"quick": QUICK, "long": LONG, "bad": BAD, "four": FOUR},
        "grids": list(grids),
        "execution": {"device": "cpu"},
        "tables": ["scenarios"],
        "figures": [],
    } | changes


def attempt(workplace: Workplace, cell: str) -> dict[str, Any]:
    """A cell's attempt record."""
    found: dict[str, Any] = json.loads(
        (workplace.folder / f"results/faults/logs/attack/{cell}.json").read_text()
    )
    return found


def written(workplace: Workplace) -> dict[str, int]:
    """When each cell file was written."""
    folder = workplace.folder / CELLS
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


IG, WIIG, DIA = (f"quick/mnist/mlp/p0.5/{attack}/seed0" for attack in ("ig", "wiig", "dia"))
