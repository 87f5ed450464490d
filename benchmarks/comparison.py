"""The contestants on the same random victims: the engine as a cell runs it, and the oracle of the tests."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from flop_bound import synchronise
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dia.attacks.attack import Observer
from dia.attacks.optimisation.state import SearchState
from dia.attacks.registry import get_attack
from dia.datasets.victim_set import VictimSet
from dia.evaluation.experiment import Experiment, build_experiment
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.settings.scenario import Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.oracle import Client, attack
from helpers.plain_models import PLAIN

SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
CLASSES = 10
RATE = "0.50"


@dataclass
class Clock:
    """An observer of the engine: the time from iteration ``warm`` to the last one of each pass."""

    device: torch.device
    warm: int
    last: int
    began: float = 0.0
    seconds: float = 0.0
    victim_iterations: int = 0

    def __call__(self, state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None:
        if state.iteration not in (self.warm, self.last):
            return
        synchronise(self.device)
        now = time.perf_counter()
        if state.iteration == self.warm:
            self.began = now
        else:
            self.seconds += now - self.began
            self.victim_iterations += len(state) * (self.last - self.warm)


@dataclass
class Contest:
    """DIA at p = 0.5 on random images of a dataset's shape, one image per victim, in float32.

    Attributes:
        experiment: As a cell prepares it.
        client: The oracle's model, with the same weights.
        per_pass: Victims that share a pass; None as the engine chooses.
        passes: What it chose.
    """

    experiment: Experiment
    client: Client
    device: torch.device
    per_pass: int | None
    passes: int = field(default=0, init=False)

    @classmethod
    def of(cls, model: str, dataset: str, victims: int, device: torch.device, per_pass: int | None) -> Self:
        """Random pixels and labels; the clients' gradients as an undefended FedSGD client sends them."""
        shape = SHAPES[dataset]
        rng = np.random.default_rng(0)
        channels = np.full(shape[0], 0.5, np.float32)
        victim_set = VictimSet(
            images=rng.integers(0, 256, (victims, *shape[1:], shape[0]), np.uint8),
            labels=rng.integers(0, CLASSES, victims),
            source_indices=np.arange(victims),
            mean=channels,
            std=channels.copy(),
            dataset=dataset,
            source="random",
            source_detail="random pixels",
            num_classes=CLASSES,
        )
        cell = Cell("benchmark", dataset, model, RATE, "dia", 0)
        experiment = build_experiment(
            AttackJob.from_config(cell, Settings(victims=victims, loss_tolerance=0), {}), victim_set, device
        )
        plain = experiment.problem.model.model
        if model in PLAIN:
            plain = PLAIN[model](shape, CLASSES, float(RATE))
            plain.load_state_dict(experiment.problem.model.model.state_dict())
        client = Client(plain.to(device), torch.zeros(1, *shape, device=device))
        return cls(experiment, client, device, per_pass)

    def engine(
        self, iterations: int, warm: int = 1, observe_also: Observer | None = None, **how: Any
    ) -> float:
        """Seconds of the engine per victim-iteration, over ``iterations`` of every victim.

        Args:
            iterations: Iterations that are timed.
            warm: Iterations before those.
            observe_also: Sees every iteration, too.
            how: Further arguments of :meth:`dia.attacks.attack.Attack.run`.
        """
        clock = Clock(self.device, warm, warm + iterations)
        self._limit(warm + iterations + 1)
        attack = get_attack("dia")(self.experiment.problem, self.per_pass)

        def observe(state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None:
            clock(state, total_loss, matching_distance)
            if observe_also is not None:
                observe_also(state, total_loss, matching_distance)

        self.passes = attack.run(observe=observe, **how).victims_per_chunk
        return clock.seconds / clock.victim_iterations

    def engine_flops(self) -> float:
        """Operations of the engine's matrix products in one victim-iteration, as torch counts them."""
        self._limit(1)
        attack = get_attack("dia")(self.experiment.problem, self.per_pass)
        with FlopCounterMode(display=False) as counter:
            attack.run()
        return counter.get_total_flops() / len(self.experiment.problem)

    def oracle(self, iterations: int) -> float:
        """Seconds of the oracle per victim-iteration, on the first victim (all victims cost it the same)."""
        self._limit(iterations)
        problem = self.experiment.problem
        received = [problem.gradient(0, name) for name in self.client.parameters]
        masks = [mask[0].to(self.device) for mask in problem.masks()]
        synchronise(self.device)
        began = time.perf_counter()
        attack(
            self.client,
            received,
            problem.labels[0].to(self.device),
            problem.images()[0].to(self.device),
            (problem.low, problem.high),
            problem.settings,
            masks=masks,
            optimise_masks=True,
        )
        synchronise(self.device)
        return (time.perf_counter() - began) / iterations

    def _limit(self, iterations: int) -> None:
        changed = self.experiment.problem.settings.model_copy(update={"max_iterations": iterations})
        object.__setattr__(self.experiment.problem, "settings", changed)
