"""Settings of the search and of the model reach the cell: what the attack is given, and what the rows say."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from dia.attacks.problem import Problem
from dia.attacks.registry import ATTACKS
from dia.config.config import Config
from dia.datasets.registry import parse_dataset
from dia.datasets.victim_selection import make_victims
from dia.datasets.victim_set import VictimSet
from dia.errors import AttackError, ModelError, VictimError
from dia.evaluation.experiment import build_experiment
from dia.execution.run_cell import run_cell
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.models.custom import FingerprintedModel
from dia.settings.scenario import Settings

SPEC = parse_dataset('{"source": "bundled-mnist", "images": 4}', "mnist")


@cache
def victim_set() -> VictimSet:
    return make_victims(SPEC, "mnist")


def job(
    attack: str = "dia",
    p: str = "0.5",
    model: str = "mlp",
    own: FingerprintedModel | None = None,
    **settings: Any,
) -> AttackJob:
    chosen = Settings(**{"victims": 2, "max_iterations": 6, "history_points": 6, **settings})
    return AttackJob.from_config(
        Cell("default", "mnist", model, p, attack, 0), chosen, SPEC.model_dump(mode="json"), own
    )


def problem(**how: Any) -> Problem:
    return build_experiment(job(**how), victim_set(), torch.device("cpu")).problem


def rows(**how: Any) -> list[dict[str, Any]]:
    return run_cell(job(**how), victim_set(), device="cpu", threads=1, victims_per_chunk=None)


@pytest.mark.parametrize(
    ("model", "sites", "expected"),
    [
        ("mlp", "default", 3),
        ("lenet", "default", 1),
        ("lenet", "all", 4),
        ("lenet", "convolutions", 3),
        ("resnet18", "head+stages", 5),
    ],
)
def test_dropout_sites(model: str, sites: str, expected: int) -> None:
    of = problem(model=model, dropout_sites=sites)
    assert len(of.client_masks) == len(of.masks()) == expected
    assert of.rates == [0.5] * expected


@pytest.mark.parametrize("kind", ["bernoulli", "ones", "mean", "uniform"])
def test_mask_init(kind: str) -> None:
    masks = problem(p="0.25", mask_init=kind).masks()
    values = torch.cat([mask.flatten() for mask in masks])
    expected = {"bernoulli": {0.0, 1.0}, "ones": {1.0}, "mean": {0.75}}.get(kind)
    assert len(values.unique()) > 1000 if expected is None else set(values.tolist()) == expected
    assert values.dtype == torch.float32


def test_starts_differ_by_restart_and_not_by_how_many_follow() -> None:
    once, thrice = problem(), problem(restarts=3)
    assert torch.equal(once.images(), thrice.images())
    assert all(map(torch.equal, once.masks(), thrice.masks()))
    x, masks = thrice.images(1), thrice.masks(1)
    assert x.shape == thrice.images().shape
    assert not torch.equal(x, thrice.images())
    assert not torch.equal(masks[0], thrice.masks()[0])
    some = thrice.select(torch.tensor([1]))
    assert torch.equal(some.images(1)[0], x[1])
    assert torch.equal(some.masks(1)[0][0], masks[0][1])


@pytest.mark.parametrize(
    "changes",
    [
        {"signed_gradients": False},
        {"mask_init": "uniform"},
        {"mask_parametrisation": "sigmoid"},
        {"mask_penalty_weight": 0.5},
        {"tv_weight": 0.5},
        {"dropout_sites": "convolutions"},
    ],
    ids=str,
)
def test_every_setting_changes_the_numbers_and_is_a_column(changes: dict[str, Any]) -> None:
    usual, changed = (rows(model="lenet", **settings)[0] for settings in ({}, changes))
    ((key, value),) = changes.items()
    assert changed[key] == value != usual[key]
    assert changed["history_total_loss"] != usual["history_total_loss"]
    assert changed["model_definition"] == ""


def test_a_row_tells_the_start_that_was_kept_and_its_curves() -> None:
    alone, found = rows(), rows(restarts=2)
    assert {row["restarts"] for row in found} == {2}
    for number, row in enumerate(found):
        assert row["restart"] in (0, 1)
        curve = row["history_matching_distance"]
        assert curve[row["best_iteration"]] == pytest.approx(row["matching_distance"])
        first = alone[number]
        assert row["matching_distance"] <= first["matching_distance"]
        assert (row["restart"] == 0) == (curve == first["history_matching_distance"])
    assert {row["restart"] for row in rows(restarts=4)} != {0}


def test_weights_of_the_loss_may_differ_between_models() -> None:
    grid = {
        "datasets": ["d"],
        "models": ["mlp", "vit"],
        "dropout_rates": ["0"],
        "attacks": ["ig"],
        "seeds": [0],
    }
    scenario = {"victims": 2, "tv_weight": 0.001, "per_model": {"vit": {"tv_weight": 0.1}}}
    config = Config.load(
        {
            "name": "n",
            "datasets": {"d": SPEC.model_dump()},
            "scenarios": {"default": scenario},
            "grids": [grid],
        }
    )
    assert [config.settings(cell).tv_weight for cell in config.cells] == [0.001, 0.1]


def test_a_cell_of_an_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_net.py").write_text(
        "from torch import nn\n"
        "def net(classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 9), nn.Dropout(),\n"
        "        nn.BatchNorm1d(9), nn.Linear(9, classes))"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = FingerprintedModel(factory="module:own_net.net", arguments={"classes": "$num_classes"})
    row = rows(model="net", own=own, victims=1, batch_size=3)[0]
    assert (
        row["model_definition"]
        == '{"arguments":{"classes":"$num_classes"},"dropout_rates":"cell","factory":"module:own_net.net","source":""}'
    )
    assert row["history_total_loss"][-1] < row["history_total_loss"][0]
    assert "one victim at a time for 1.weight" in row["notes"]  # batch normalisation mixes the images


def test_dia_lbfgs_is_dia_with_other_defaults() -> None:
    how: dict[str, Any] = {"precision": "float64", "max_iterations": 40, **ATTACKS["dia_lbfgs"].defaults}
    for found, expected in zip(rows(attack="dia_lbfgs", **how), rows(attack="dia", **how), strict=True):
        for name in ("mse", "ssim", "total_loss", "mask_accuracy", "history_total_loss", "best_iteration"):
            assert found[name] == expected[name]  # bit by bit


def test_dia_lbfgs_without_dropout_is_ig_with_its_optimiser() -> None:
    how: dict[str, Any] = {"p": "0", "max_iterations": 40, **ATTACKS["dia_lbfgs"].defaults}
    for found, expected in zip(rows(attack="dia_lbfgs", **how), rows(attack="ig", **how), strict=True):
        assert found["mask_accuracy"] is None
        assert found["history_total_loss"] == expected["history_total_loss"]


def test_dia_lbfgs_assumes_the_rate_that_the_attacker_assumes() -> None:
    known, other = (problem(attack="dia_lbfgs", attacker_dropout_rate=rate) for rate in ("known", 0.25))
    assert (known.rates, other.rates) == ([0.5] * 3, [0.25] * 3)


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (VictimError, {"victims": 50}),
        (ModelError, {"model": "net", "own": FingerprintedModel(factory="module:no_such_module.net")}),
        (AttackError, {"federated_rounds": 1}),
    ],
)
def test_every_error_names_the_cell(error: type[Exception], how: dict[str, Any]) -> None:
    model = how.get("model", "mlp")
    with pytest.raises(error, match=rf"^cell default/mnist/{model}/p0\.5/dia/seed0: "):
        rows(**how)
