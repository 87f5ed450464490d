"""Label inference: exact for one image whatever the model and the defence, better than chance for batches."""

import pytest
import torch
from torch import Tensor, nn

from dia.attacks.label_inference import align_to, certain_labels, infer_labels, last_layer
from dia.errors import AttackError
from dia.evaluation.chance_levels import label_accuracy_chance
from dia.federated.client import apply_defences, compute_update, draw_masks
from dia.federated.update import ClientUpdate
from dia.gradients.batched import BatchedGradientEngine
from dia.models.build import build_model
from dia.models.dropout import replace_dropout
from dia.settings.defences import DefenceSettings

SHAPE, CLASSES = (1, 12, 12), 10
DEFENCES = [
    {},
    {"defence_clip_norm": 1e-3},
    {"defence_noise_std": 1e-4},
    {"defence_keep_fraction": 0.5},
    {"defence_quantisation": "int8"},
    {"defence_quantisation": "sign"},
]


def received(
    network: nn.Module, labels: Tensor, rate: float = 0.5, seed: int = 0, **defence: object
) -> tuple[nn.Module, ClientUpdate]:
    """What clients with these labels (V, N) and random images send."""
    victims, images = labels.shape
    classes = int(last_layer(network, CLASSES)[1].out_features)
    model = BatchedGradientEngine(network, SHAPE, classes, images)
    x = torch.randn(victims, images, *SHAPE, generator=torch.Generator().manual_seed(seed))
    ids = [f"{v:04d}" for v in range(victims)]
    sent = compute_update(model, x, draw_masks(model.sites, seed, ids, images, "client_masks"), labels)
    sent = apply_defences(sent, model, DefenceSettings.model_validate(defence), seed, ids)
    return network, ClientUpdate.of(sent)


def auxiliary_images() -> Tensor:
    return torch.rand(64, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["mlp", "vit"])
@pytest.mark.parametrize("defence", DEFENCES, ids=str)
def test_the_label_of_one_image_is_read_off(name: str, defence: dict[str, object]) -> None:
    labels = torch.arange(CLASSES)[:, None]
    network, sent = received(build_model(name, SHAPE, CLASSES, 0.5, 0), labels, **defence)
    assert torch.equal(infer_labels(network, sent, 1, CLASSES, auxiliary_images(), 1.0), labels)


@pytest.mark.parametrize("name", ["mlp", "vit"])
@pytest.mark.parametrize("noise", [0.0, 1e-5, 1e-3, 1e-2, 0.1, 1.0])
def test_labels_said_to_be_certain_are_right(name: str, noise: float) -> None:
    labels = torch.arange(CLASSES).repeat(4)[:, None]
    network, sent = received(build_model(name, SHAPE, CLASSES, 0.5, 0), labels, defence_noise_std=noise)
    certain = certain_labels(network, sent, 1, CLASSES)
    right = (infer_labels(network, sent, 1, CLASSES, auxiliary_images(), 1.0) == labels)[:, 0]
    assert bool(right[certain].all())
    if noise <= 1e-5:
        assert bool(certain.all())
    if noise >= 0.1:
        assert not bool(certain.any())


def test_the_gradient_of_a_batch_makes_no_label_certain() -> None:
    labels = torch.randint(CLASSES, (8, 2), generator=torch.Generator().manual_seed(5))
    network, sent = received(build_model("mlp", SHAPE, CLASSES, 0.5, 0), labels)
    assert not bool(certain_labels(network, sent, 2, CLASSES).any())
    differ = labels[:, 0] != labels[:, 1]
    assert not bool(certain_labels(network, sent, 1, CLASSES)[differ].any())  # taken for that of one image


def with_head(bias: bool, classes: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [
            nn.Flatten(),
            nn.Linear(144, 20),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(20, classes, bias=bias),
        ]
        return replace_dropout(nn.Sequential(*layers))


@pytest.mark.parametrize("bias", [True, False])
def test_two_classes_are_told_apart_by_a_sign(bias: bool) -> None:
    network = with_head(bias, 2)
    model = BatchedGradientEngine(network, SHAPE, 2, 1)
    labels = torch.tensor([[0], [1], [1], [0]])
    x = torch.randn(4, 1, *SHAPE, generator=torch.Generator().manual_seed(2))
    masks = draw_masks(model.sites, 0, ["a", "b", "c", "d"], 1, "client_masks")
    received = ClientUpdate.of(compute_update(model, x, masks, labels))
    assert torch.equal(infer_labels(network, received, 1, 2, auxiliary_images(), 1.0), labels)
    assert bool(
        (certain_labels(network, received, 1, 2) == bias).all()
    )  # else features are taken to be positive


@pytest.mark.parametrize(("images", "scale"), [(2, 1.0), (4, 1.0), (12, 1.0), (2, None), (4, None)])
def test_counts_are_found_where_features_are_alike(images: int, scale: float | None) -> None:
    """With a head on constant features the count formula is exact; 12 images have more labels than classes."""

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(1 + 0 * x.flatten(1)[:, :6])

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = replace_dropout(Constant())
    rng = torch.Generator().manual_seed(images)
    labels = torch.randint(CLASSES, (5, images), generator=rng)
    if scale is None:  # it is estimated from classes that occur, each of them once
        labels = torch.stack([torch.randperm(CLASSES, generator=rng)[:images] for _ in range(5)])
    network, sent = received(network, labels)
    if scale is None:
        sent = ClientUpdate.of({n: type(p)(*_scaled(p, 0.01)) for n, p in sent.pieces.items()})
    found = infer_labels(network, sent, images, CLASSES, auxiliary_images(), scale)
    assert torch.equal(found, labels.sort(1).values)


def _scaled(piece: object, factor: float) -> list[object]:
    fields = list(vars(piece).values())
    return [fields[0] * factor, *fields[1:]]


@pytest.mark.parametrize("name", ["mlp", "vit"])
def test_labels_of_batches_are_found_better_than_by_chance(name: str) -> None:
    labels = torch.randint(CLASSES, (16, 4), generator=torch.Generator().manual_seed(3))
    network, sent = received(build_model(name, SHAPE, CLASSES, 0.25, 0), labels, rate=0.25)
    found = align_to(infer_labels(network, sent, 4, CLASSES, auxiliary_images(), 1.0), labels)
    accuracy = (found == labels).double().mean(1)
    assert float(accuracy.mean()) > float(label_accuracy_chance(labels, CLASSES).mean()) + 0.2


def test_slots_follow_the_true_order_as_far_as_possible() -> None:
    inferred, true = torch.tensor([[1, 1, 4, 7]]), torch.tensor([[7, 1, 2, 1]])
    assert align_to(inferred, true).tolist() == [[7, 1, 4, 1]]


def test_chance_is_the_expected_share_of_random_guesses() -> None:
    assert label_accuracy_chance(torch.tensor([[3]]), 10).item() == pytest.approx(0.1)
    labels, rng = torch.tensor([[0, 0, 1, 5]]), torch.Generator().manual_seed(0)
    guesses = torch.randint(10, (20_000, 4), generator=rng)
    simulated = (align_to(guesses, labels.expand(len(guesses), -1)) == labels).double().mean()
    assert label_accuracy_chance(labels, 10).item() == pytest.approx(float(simulated), abs=5e-3)


def test_a_model_without_a_last_linear_layer_is_refused() -> None:
    with pytest.raises(AttackError, match=r"no nn\.Linear with 10 outputs.*set attacker_labels: known"):
        last_layer(nn.Sequential(nn.Conv2d(1, CLASSES, 3)), CLASSES)


def test_the_setting_reaches_the_attack() -> None:
    """Inferred labels are used, and their accuracy is in the row; known ones leave no accuracy."""
    from dia.datasets.registry import parse_dataset
    from dia.datasets.victim_selection import make_victims
    from dia.execution.run_cell import run_cell
    from dia.jobs.attack_job import AttackJob
    from dia.jobs.cell import Cell
    from dia.settings.scenario import Settings

    spec = parse_dataset('{"source": "bundled-mnist", "images": 8}', "mnist")
    cell = Cell("default", "mnist", "mlp", "0.5", "ig", 0)
    for known in ("known", "inferred"):
        settings = Settings(victims=2, batch_size=4, max_iterations=2, attacker_labels=known)
        job = AttackJob.from_config(cell, settings, spec.model_dump(mode="json"))
        rows = run_cell(job, make_victims(spec, "mnist"), device="cpu", threads=1, victims_per_chunk=None)
        for row in rows:
            assert row["attacker_labels"] == known
            assert (row["label_accuracy"] is None) == (known == "known")
            if known == "inferred":
                assert 0.25 <= row["label_accuracy"] <= 1
                assert 0.3 < row["label_accuracy_chance"] < 0.5
