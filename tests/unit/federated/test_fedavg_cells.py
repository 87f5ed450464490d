"""Cells whose clients take local steps: what is sent, which masks are sought, and what the rows say."""

from typing import Any

import pytest
import torch

from dia.attacks import dia
from dia.datasets.registry import parse_dataset
from dia.datasets.victim_selection import make_victims
from dia.datasets.victim_set import VictimSet
from dia.evaluation.experiment import Experiment, build_experiment
from dia.execution.run_cell import run_cell
from dia.gradients.local_sgd import LocalSGDEngine
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.settings.scenario import Settings

SPEC = parse_dataset('{"source": "bundled-mnist", "images": 8}', "mnist")


def made(
    attack: str = "dia", p: str = "0.5", model: str = "mlp", **settings: Any
) -> tuple[AttackJob, VictimSet]:
    chosen = Settings(**{"victims": 2, "batch_size": 3, "max_iterations": 3, **settings})
    job = AttackJob.from_config(
        Cell("default", "mnist", model, p, attack, 0), chosen, SPEC.model_dump(mode="json")
    )
    return job, make_victims(SPEC, "mnist")


def experiment(**settings: Any) -> Experiment:
    return build_experiment(*made(**settings), torch.device("cpu"))


def rows(**settings: Any) -> list[dict[str, Any]]:
    return run_cell(*made(**settings), device="cpu", threads=1, victims_per_chunk=None)


LOCAL = {"local_epochs": 2, "local_batch_size": 2, "local_learning_rate": 0.05}


def test_every_local_step_has_masks_of_its_own() -> None:
    ready = experiment(**LOCAL)
    engine = ready.problem.model
    assert isinstance(engine, LocalSGDEngine)
    assert [len(step) for step in engine.steps] == [2, 1, 2, 1]
    shapes = [tuple(mask.shape) for mask in ready.problem.client_masks]
    assert shapes == [(2, images, 512) for images in (2, 2, 2, 1, 1, 1, 2, 2, 2, 1, 1, 1)]
    first, again = ready.problem.client_masks[0], ready.problem.client_masks[6]
    assert not torch.equal(first, again)
    assert [mask.shape for mask in ready.problem.masks()] == [torch.Size(s) for s in shapes]
    assert all(bool(counted.all()) for counted in ready.influential_entries)


def test_the_size_of_a_chunk_is_found() -> None:
    assert 1 <= dia.build(experiment(**LOCAL).problem).start().chunk_size <= 2


@pytest.mark.parametrize("attack", ["ig", "wiig", "dia", "dia_readout"])
def test_attacks_run_on_what_is_sent(attack: str) -> None:
    for row in rows(attack=attack, **LOCAL):
        assert (row["local_epochs"], row["local_batch_size"], row["local_learning_rate"]) == (2, 2, 0.05)
        assert (row["mask_accuracy"] is not None) == attack.startswith("dia")
        assert 0 < row["matching_distance"] < 2


def test_the_true_images_and_masks_match_what_is_sent() -> None:
    """The well-informed attack's distance is zero at the truth: it knows steps, order and masks."""
    from dia.attacks.optimisation.objective import matching_distance

    ready = experiment(attack="wiig", precision="float64", **LOCAL)
    problem = ready.problem
    x = ready.normalisation.normalise(ready.original)
    for engine_masks, close in ((problem.client_masks, True), (None, False)):
        distance = matching_distance(problem.model, problem.received, x, engine_masks, problem.labels)
        assert bool((distance.abs() < 1e-7).all()) == close


@pytest.mark.parametrize("images", [1, 4])
def test_one_step_on_the_whole_batch_is_fedsgd(images: int) -> None:
    once = {"batch_size": images, "precision": "float64"}
    for a, b in zip(rows(**once), rows(**once, local_epochs=1), strict=True):
        assert a["total_loss"] == pytest.approx(b["total_loss"], rel=1e-9)
        assert a["mask_accuracy"] == b["mask_accuracy"]


@pytest.mark.parametrize("epochs", [0, 2])
def test_labels_of_one_image_are_inferred_from_several_steps(epochs: int) -> None:
    found = rows(attack="ig", batch_size=1, victims=8, attacker_labels="inferred", local_epochs=epochs)
    assert [row["label_accuracy"] for row in found] == [1.0] * 8


def test_defences_act_on_the_difference_of_the_weights() -> None:
    norm = experiment(**LOCAL).problem.received.norm
    rate = LOCAL["local_learning_rate"]
    bound = 0.5 * rate * float(norm.min())
    clipped = experiment(**LOCAL, defence_clip_norm=bound).problem.received.norm
    assert (rate * clipped).tolist() == pytest.approx([bound, bound], rel=1e-5)


def test_an_unknown_rate_and_a_vision_transformer() -> None:
    (row,) = rows(model="vit", victims=1, batch_size=1, attacker_dropout_rate="unknown", local_epochs=2)
    assert 0.3 < row["dropout_rate_estimate"] < 0.7
