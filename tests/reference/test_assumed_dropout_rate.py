"""What dia assumes of the dropout rate: the client's own, another, or none, against plain autograd."""

from typing import Any

import pytest
import torch
from helpers.oracle import Client, cosine_distance, norm
from helpers.plain_models import PLAIN

from dia.attacks.optimisation.objective import matching_distance
from dia.datasets.registry import parse_dataset
from dia.datasets.victim_selection import make_victims
from dia.evaluation.experiment import build_experiment
from dia.execution.run_cell import run_cell
from dia.federated.client import compute_update, draw_masks
from dia.federated.update import ClientUpdate
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.unknown_dropout_rate import UnknownRateEngine
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.models.build import build_model
from dia.settings.scenario import Settings

SHAPE, CLASSES, RATE = (1, 8, 8), 4, 0.25


@pytest.mark.parametrize("name", ["mlp", "vit"])
def test_an_unknown_rate_is_what_the_mask_drops(name: str) -> None:
    """``x * m / mean(m)``, the mean over one victim's mask, with its derivative through the mean."""
    victims, images = 2, 2
    engine = BatchedGradientEngine(build_model(name, SHAPE, CLASSES, 0.5, 0).double(), SHAPE, CLASSES, images)
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(victims, images, *SHAPE, generator=rng, dtype=torch.float64)
    labels = torch.randint(CLASSES, (victims, images), generator=rng)
    ids = ["0000", "0001"]
    client_masks = draw_masks(engine.sites, 0, ids, images, "client_masks")
    received = ClientUpdate.of(compute_update(engine, x, client_masks, labels))
    masks = [
        torch.rand(victims, images, *site.shape, generator=rng, dtype=torch.float64).requires_grad_()
        for site in engine.sites
    ]
    distance = matching_distance(UnknownRateEngine(engine), received, x, masks, labels)
    slopes = torch.autograd.grad(distance.sum(), masks)

    plain = PLAIN[name](SHAPE, CLASSES, 0.5).double()
    plain.load_state_dict(engine.model.state_dict())
    client = Client(plain, torch.zeros(1, *SHAPE, dtype=torch.float64))
    for dropout in client.dropouts:
        dropout.p = 0.0  # the oracle then multiplies by the mask alone
    for v in range(victims):
        leaves = [mask[v].detach().requires_grad_() for mask in masks]
        target = [received.pieces[n].dense()[v] if n in received.pieces else None for n in client.parameters]
        gradient = client.gradient(x[v], [m / m.mean() for m in leaves], labels[v], create_graph=True)
        expected = cosine_distance(gradient, target, norm(target))
        assert distance[v].item() == pytest.approx(expected.item(), rel=1e-10)
        by_hand = torch.autograd.grad(expected, leaves)
        largest = max(float(slope.norm()) for slope in by_hand)
        for slope, other in zip(slopes, by_hand, strict=True):
            assert float((slope[v] - other).norm()) <= 1e-9 * largest


def rows(attack: str, p: str = "0.25", **settings: Any) -> list[dict[str, Any]]:
    job, victim_set = made_job(attack, p, **settings)
    return run_cell(job, victim_set, device="cpu", threads=1, victims_per_chunk=None)


def made_job(attack: str, p: str, **settings: Any) -> tuple[AttackJob, Any]:
    spec = parse_dataset('{"source": "bundled-mnist", "images": 4}', "mnist")
    chosen = Settings(**{"victims": 2, "max_iterations": 3, **settings})
    job = AttackJob.from_config(
        Cell("default", "mnist", "mlp", p, attack, 0), chosen, spec.model_dump(mode="json")
    )
    return job, make_victims(spec, "mnist")


def losses(found: list[dict[str, Any]]) -> list[float]:
    return [row["total_loss"] for row in found]


def test_the_true_rate_as_a_number_is_the_same_as_known() -> None:
    assert losses(rows("dia")) == losses(rows("dia", attacker_dropout_rate=0.25))


@pytest.mark.parametrize("assumed", [0.6, "unknown"])
def test_another_rate_changes_dia_and_no_other_attack(assumed: object) -> None:
    assert losses(rows("dia")) != losses(rows("dia", attacker_dropout_rate=assumed))
    for attack in ("ig", "wiig"):
        assert losses(rows(attack)) == losses(rows(attack, attacker_dropout_rate=assumed))


def test_clients_send_the_same_whatever_the_attacker_assumes() -> None:
    sent = []
    for assumed in ("known", 0.6, "unknown"):
        job, victim_set = made_job("dia", "0.25", attacker_dropout_rate=assumed)
        experiment = build_experiment(job, victim_set, torch.device("cpu"))
        sent.append([piece.dense() for piece in experiment.problem.received.pieces.values()])
        rates = {"known": 0.25, "unknown": 0.5}.get(str(assumed), assumed)
        assert set(experiment.problem.rates) == {rates}
        kept = [float(mask.mean()) for mask in experiment.problem.masks()]
        assert kept == pytest.approx([1 - float(rates)] * 3, abs=0.08)
    for other in sent[1:]:
        assert all(torch.equal(a, b) for a, b in zip(sent[0], other, strict=True))


def test_a_mask_penalty_needs_a_rate() -> None:
    weights = {}
    for assumed in ("known", 0.6, "unknown"):
        job, victim_set = made_job("dia", "0.25", attacker_dropout_rate=assumed, mask_penalty_weight=0.5)
        problem = build_experiment(job, victim_set, torch.device("cpu")).problem
        weights[assumed] = problem.mask_penalty_weight
    assert weights == {"known": 0.5, 0.6: 0.5, "unknown": 0.0}


@pytest.mark.parametrize("assumed", [0.5, "unknown"])
def test_masks_are_sought_where_nothing_was_dropped(assumed: object) -> None:
    """At p = 0 all entries are kept; the accuracy is against that."""
    for row in rows("dia", p="0", attacker_dropout_rate=assumed):
        assert row["mask_accuracy_chance"] == 1.0
        assert row["mask_accuracy"] == pytest.approx(1 - row["dropout_rate_estimate"])
        assert 0.3 < row["dropout_rate_estimate"] < 0.7


def test_assuming_no_dropout_is_the_plain_attack() -> None:
    assert losses(rows("dia", attacker_dropout_rate=0)) == losses(rows("ig"))
    assert rows("dia", attacker_dropout_rate=0)[0]["dropout_rate_estimate"] is None


def test_settings_stay_apart() -> None:
    base = Settings()
    assert Settings(attacker_dropout_rate=0.30).attacker_dropout_rate == "0.3"
    assert Settings(attacker_dropout_rate="0.3") == Settings(attacker_dropout_rate=0.3)
    assert base.attacker_dropout_rate == "known"
    for wrong in (1, -0.1, True, "often", None):
        with pytest.raises(ValueError, match=r"must be known, unknown or a rate in \[0, 1\)"):
            Settings(attacker_dropout_rate=wrong)
