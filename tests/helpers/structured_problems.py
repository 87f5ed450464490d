"""Small problems with models of all kinds, for the tests of attacks that use structure."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dia.attacks.optimisation.initialisation import FixedInitialisation
from dia.attacks.problem import Problem
from dia.datasets.normalisation import Normalisation
from dia.evaluation.experiment import undefended_problem
from dia.federated.client import compute_update, draw_masks
from dia.federated.update import ClientUpdate
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.factored import DenseGradient
from dia.models.dropout import replace_dropout
from dia.models.mlp import MLP
from dia.models.vit import ViT
from dia.settings.scenario import Settings
from dia.utils.randomness import generator

CLASSES = 5
SHAPE = (2, 8, 12)


def build_problem(
    build: Callable[[], nn.Module],
    *,
    victims: int = 3,
    images: int = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    shape: tuple[int, int, int] = SHAPE,
    classes: int = CLASSES,
    **changes: Any,
) -> tuple[Problem, Tensor]:
    """Victims of random pixels and labels for a new model; also their images (V, N, C, H, W)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = replace_dropout(build()).to(dtype)
    model = BatchedGradientEngine(module, shape, classes, images)
    ids = [f"{number:04d}" for number in range(victims)]
    channels = torch.arange(shape[0], dtype=dtype)[:, None, None]
    normalisation = Normalisation(0.4 + 0.1 * channels, 0.25 + 0.05 * channels)
    low, high = normalisation.bounds()
    rng = generator(seed, "private")
    x = low + (high - low) * torch.rand((victims, images, *shape), generator=rng).to(dtype)
    labels = torch.randint(classes, (victims, images), generator=rng)
    masks = draw_masks(model.sites, seed, ids, images, "client_masks")
    start = draw_masks(model.sites, seed, ids, images, "initial_masks")
    x0 = torch.randn(x.shape, generator=rng, dtype=torch.float64).to(dtype)
    settings = Settings(victims=victims, batch_size=images, **changes)
    starts = FixedInitialisation(x0, [mask.to(dtype) for mask in start], ids)
    return undefended_problem(model, x, labels, masks, normalisation, starts, ids, settings), x


def vit(p: float = 0.5, **changes: Any) -> Callable[[], nn.Module]:
    architecture: dict[str, Any] = dict(patch=4, dim=16, depth=2, heads=4, hidden=12)
    return lambda: ViT(SHAPE, CLASSES, p, **(architecture | changes))


def mlp(p: float = 0.5) -> Callable[[], nn.Module]:
    return lambda: MLP(SHAPE, CLASSES, p, width=40, depth=3)


def sequential(
    p: float = 0.5,
    activation: type[nn.Module] = nn.Tanh,
    bias: bool = True,
    width: int = 40,
    classes: int = CLASSES,
) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        nn.Flatten(),
        nn.Linear(192, width, bias=bias),
        activation(),
        nn.Dropout(p),
        nn.Linear(width, width, bias=bias),
        activation(),
        nn.Dropout(p),
        nn.Linear(width, classes, bias=bias),
    )


def sending(problem: Problem, x: Tensor, labels: Tensor | None = None) -> Problem:
    """The same problem with other private images, and labels."""
    labels = problem.labels if labels is None else labels
    update = compute_update(problem.model, x, problem.client_masks, labels)
    return replace(problem, received=ClientUpdate.of(update), labels=labels)


def without(problem: Problem, *names: str) -> Problem:
    """The same problem where the clients' gradients of some parameters were not sent."""
    pieces = {name: piece for name, piece in problem.received.pieces.items() if name not in names}
    return replace(problem, received=ClientUpdate(pieces, problem.received.norm))


def noisy(problem: Problem, share: float) -> Problem:
    """The same problem with Gaussian noise on every gradient, ``share`` of its root mean square."""
    rng = torch.Generator().manual_seed(0)
    pieces = {}
    for name, piece in problem.received.pieces.items():
        value = piece.dense()
        noise = torch.randn(value.shape, generator=rng).to(value) * share * value.square().mean().sqrt()
        pieces[name] = DenseGradient(value + noise)
    return replace(problem, received=ClientUpdate.of(pieces))
