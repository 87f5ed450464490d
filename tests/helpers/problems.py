"""Small attack problems in float64, and the oracle's view of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from helpers import oracle
from helpers.oracle import Client, Result
from helpers.plain_models import PLAIN
from torch import Tensor, nn

from dia.attacks.optimisation.initialisation import FixedInitialisation
from dia.attacks.optimisation.state import SearchProgress, SearchState
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem
from dia.attacks.registry import get_attack
from dia.datasets.normalisation import Normalisation
from dia.evaluation.experiment import undefended_problem
from dia.federated.client import draw_masks
from dia.gradients.batched import BatchedGradientEngine
from dia.models.mlp import MLP
from dia.models.vit import ViT
from dia.settings.scenario import Settings
from dia.utils.randomness import generator, normal

CLASSES = 4
MODELS: dict[str, tuple[type[nn.Module], dict[str, int], tuple[int, int, int]]] = {
    "mlp": (MLP, dict(width=12, depth=2), (2, 4, 5)),
    "vit": (ViT, dict(patch=2, dim=8, depth=2, heads=2, hidden=6), (2, 4, 6)),
}
"""Name: class, architecture, shape of an image."""
PLAIN_MODELS = PLAIN


def settings(**changes: Any) -> Settings:
    """Forty iterations in float64; ``changes`` override."""
    return Settings(**({"precision": "float64", "max_iterations": 40} | changes))


def problem(
    name: str, p: float = 0.5, *, victims: int = 3, images: int = 1, seed: int = 0, **changes: Any
) -> Problem:
    """Victims of random pixels and labels; ``changes`` override :func:`settings`."""
    kind, architecture, shape = MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = kind(shape, CLASSES, p, **architecture).double()
    model = BatchedGradientEngine(module, shape, CLASSES, images)
    ids = [f"{number:04d}" for number in range(victims)]
    normalisation = Normalisation.per_channel([0.4, 0.5], [0.25, 0.3], torch.float64)
    low, high = normalisation.bounds()
    rng = generator(seed, "private")
    x = low + (high - low) * torch.rand((victims, images, *shape), generator=rng, dtype=torch.float64)
    labels = torch.randint(CLASSES, (victims, images), generator=rng)
    client_masks = draw_masks(model.sites, seed, ids, images, "client_masks")
    first_masks = draw_masks(model.sites, seed, ids, images, "initial_masks")
    x0 = torch.stack([normal((images, *shape), generator(seed, v, "x0"), torch.float64) for v in ids])
    starts = FixedInitialisation(x0, [mask.double() for mask in first_masks], ids)
    return undefended_problem(model, x, labels, client_masks, normalisation, starts, ids, settings(**changes))


@dataclass
class Run:
    """A whole attack by the engine, with what an observer saw: per victim, an entry an iteration.

    ``last_masks`` holds every victim's masks after the last step.
    """

    outcome: Outcome
    losses: list[list[float]]
    rates: list[list[float]]
    last_masks: list[Tensor]


def run(
    attack_name: str,
    problem: Problem,
    victims_per_chunk: int | None = None,
    *,
    on_iteration: Callable[[SearchProgress], None] = lambda progress: None,
    notify: Callable[[str], None] | None = None,
) -> Run:
    """Attack ``problem``, observed; the other arguments are those of :mod:`dia.attacks.attack`."""
    losses: list[list[float]] = [[] for _ in problem.victim_ids]
    rates: list[list[float]] = [[] for _ in problem.victim_ids]

    def observe(state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None:
        for row, victim in enumerate(state.victims.tolist()):
            if state.active[row]:
                losses[victim].append(float(total_loss[row]))
                rates[victim].append(float(state.plateau.lr[row]))

    last: dict[int, list[Tensor]] = {}

    def watched(progress: SearchProgress) -> None:
        """Hold on to the masks, which are stepped in place."""
        on_iteration(progress)
        state = progress.active[0]
        last.update((v, [mask[row] for mask in state.masks]) for row, v in enumerate(state.victims.tolist()))

    attack = get_attack(attack_name)(problem, victims_per_chunk)
    outcome = attack.run(observe=observe, on_iteration=watched, notify=notify)
    masks = [torch.stack(site) for site in zip(*(last[v] for v in range(len(problem))), strict=True)]
    return Run(outcome, losses, rates, masks)


def run_oracle(attack_name: str, problem: Problem, model_name: str, restart: int = 0) -> list[Result]:
    """The same attack by the oracle, from one start, on a plainly written model with the same weights."""
    _, architecture, shape = MODELS[model_name]
    rate = problem.rates[0] if problem.rates else 0.0
    model = PLAIN_MODELS[model_name](shape, CLASSES, rate, **architecture).double()
    model.load_state_dict(problem.model.model.state_dict())
    client = Client(model, torch.zeros(1, *shape, dtype=torch.float64))
    true = [mask.double() for mask in problem.client_masks]
    masks = {"ig": None, "wiig": true, "dia": problem.masks(restart)}[attack_name]
    return [
        oracle.attack(
            client,
            [problem.received.pieces[name].dense()[v] for name in client.parameters],
            problem.labels[v],
            problem.images(restart)[v],
            (problem.low, problem.high),
            problem.settings,
            masks=None if masks is None else [mask[v] for mask in masks],
            optimise_masks=attack_name == "dia",
        )
        for v in range(len(problem))
    ]
