"""FedAvg against an unrolled oracle: one victim after another, step by step, plain autograd through all of it."""

import copy
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from helpers.layer_cases import CLASSES, FOLDED, GENERIC, made
from helpers.oracle import Client, cosine_distance, norm
from torch import Tensor, nn
from torch.func import functional_call

from dia.attacks.optimisation.objective import matching_distance
from dia.federated.client import compute_update, draw_masks
from dia.federated.protocol import local_steps
from dia.federated.update import ClientUpdate
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.local_sgd import LocalSGDEngine
from dia.models.dropout import replace_dropout
from dia.settings.federated import FederatedSettings

VICTIMS, IMAGES, RATE = 2, 3, 0.2
STEPS = [[2, 0], [1], [0, 1], [2]]
"""Two epochs in minibatches of two, the last of them smaller."""


def unrolled(
    client: Client,
    x: Tensor,
    masks: Sequence[Sequence[Tensor]] | None,
    labels: Tensor,
    steps: list[list[int]],
) -> list[Tensor]:
    """The difference of the weights after local SGD, over its rate; ``masks`` has a list a step."""
    first = {name: p.detach().clone().requires_grad_() for name, p in client.parameters.items()}
    weights = dict(first)
    for number, step in enumerate(steps):
        rest = list(masks[number]) if masks is not None else []
        for dropout, count in zip(client.dropouts, client.counts, strict=True):
            dropout.calls = 0
            dropout.masks, rest = rest[:count], rest[count:]
        loss = F.cross_entropy(functional_call(client.model, weights, (x[step],)), labels[step])
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True, materialize_grads=True)
        weights = {n: w - RATE * slope for (n, w), slope in zip(weights.items(), slopes, strict=True)}
    return [(first[name] - weights[name]) / RATE for name in first]


def compare(model: nn.Module, shape: tuple[int, int, int]) -> LocalSGDEngine:
    """Hold a model's local steps against the oracle on random victims; returns the engine."""
    rng = torch.Generator().manual_seed(0)

    def random(*size: int) -> Tensor:
        return torch.rand(size, generator=rng, dtype=torch.float64)

    client = Client(model, torch.zeros(1, *shape, dtype=torch.float64))
    engine = LocalSGDEngine(replace_dropout(model), shape, CLASSES, STEPS, RATE)
    places = len(engine.sites) // len(STEPS)
    labels = torch.randint(CLASSES, (VICTIMS, IMAGES), generator=rng)
    private, ids = 2 * random(VICTIMS, IMAGES, *shape) - 1, ["0000", "0001"]
    client_masks = draw_masks(engine.sites, 0, ids, IMAGES, "client_masks")
    received = ClientUpdate.of(compute_update(engine, private, client_masks, labels))
    x = (2 * random(VICTIMS, IMAGES, *shape) - 1).requires_grad_()
    masks = [random(VICTIMS, *site.mask_shape(IMAGES)).requires_grad_() for site in engine.sites]

    def by_step(masks: Sequence[Tensor], v: int) -> list[list[Tensor]]:
        own = [mask[v].to(private) for mask in masks]
        return [own[s * places : (s + 1) * places] for s in range(len(STEPS))]

    for used in [masks, None] if masks else [None]:
        distance = matching_distance(engine, received, x, used, labels)
        wanted = [x, *(used or [])]
        slopes = torch.autograd.grad(distance.sum(), wanted)
        for v in range(VICTIMS):
            target = [
                d.detach() for d in unrolled(client, private[v], by_step(client_masks, v), labels[v], STEPS)
            ]
            got = [received.pieces[name].dense()[v] for name in client.parameters]
            largest = max(float(t.norm()) for t in target)
            for a, b in zip(got, target, strict=True):
                assert float((a - b).norm()) <= 1e-9 * largest
            leaves = [tensor[v].detach().requires_grad_() for tensor in wanted]
            chunks = [leaves[1 + s * places : 1 + (s + 1) * places] for s in range(len(STEPS))]
            moved = unrolled(client, leaves[0], chunks if used else None, labels[v], STEPS)
            expected = cosine_distance(moved, target, norm(target))
            assert distance[v].item() == pytest.approx(expected.item(), rel=1e-8)
            by_hand = torch.autograd.grad(expected, leaves)
            largest = max(float(slope.norm()) for slope in by_hand)
            for slope, other in zip(slopes, by_hand, strict=True):
                assert float((slope[v] - other).norm()) <= 1e-8 * largest
    return engine


@pytest.mark.parametrize("name", sorted(FOLDED))
def test_victims_are_mapped(name: str) -> None:
    assert compare(*made(FOLDED[name])).per_victim_parameters == []


@pytest.mark.parametrize("name", sorted(GENERIC))
def test_any_model_takes_local_steps(name: str) -> None:
    case, _ = GENERIC[name]
    compare(*made(case))


def test_one_step_on_the_whole_batch_is_fedsgd() -> None:
    model, shape = made(FOLDED["linear on tokens"])
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(VICTIMS, IMAGES, *shape, generator=rng, dtype=torch.float64)
    labels = torch.randint(CLASSES, (VICTIMS, IMAGES), generator=rng)
    engine = LocalSGDEngine(replace_dropout(copy.deepcopy(model)), shape, CLASSES, [[0, 1, 2]], RATE)
    folded = BatchedGradientEngine(replace_dropout(model), shape, CLASSES, IMAGES)
    masks = draw_masks(folded.sites, 0, ["a", "b"], IMAGES, "client_masks")
    for name, piece in compute_update(folded, x, masks, labels).items():
        difference = compute_update(engine, x, masks, labels)[name].dense()
        torch.testing.assert_close(difference, piece.dense(), rtol=1e-9, atol=1e-12)


def test_every_epoch_shows_each_image_once_in_a_new_order() -> None:
    settings = FederatedSettings(local_epochs=3, local_batch_size=4)
    steps = local_steps(settings, 10, seed=5)
    assert [len(step) for step in steps] == [4, 4, 2] * 3
    epochs = [[i for step in steps[3 * e : 3 * e + 3] for i in step] for e in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert steps == local_steps(settings, 10, seed=5)
    assert local_steps(FederatedSettings(), 10, seed=5) == []
    for seed in range(5):  # within a minibatch the order is that of the batch
        assert local_steps(FederatedSettings(local_epochs=1), 4, seed) == [[0, 1, 2, 3]]
