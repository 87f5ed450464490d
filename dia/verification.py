"""Golden runs: float64 runs of the paper authors' code, replayed by this engine.

A run is an ``.npz`` named ``<dataset>_<model>_<attack>_p<rate>[_variant].npz`` beside
``<dataset>_<model>_weights.npz`` (parameters by name). Everything else is read from the run itself.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dia.attacks.optimisation.initialisation import FixedInitialisation
from dia.attacks.optimisation.state import SearchState
from dia.attacks.problem import Problem
from dia.attacks.registry import get_attack
from dia.datasets.normalisation import Normalisation
from dia.datasets.specs import NORMALISATIONS
from dia.errors import GoldenError
from dia.evaluation.experiment import undefended_problem
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.engine import GradientEngine
from dia.models.build import build_model
from dia.settings.scenario import Settings
from dia.utils.npz import read_npz

CPU = torch.device("cpu")
LOSS_TOLERANCE = 1e-6
IMAGE_TOLERANCE = 1e-6
ARRAYS = ("victim", "label", "dropout_rate", "x0", "losses", "x_final")
LIMITS = ("max_iterations", "plateau_patience", "early_stop_patience")
_NAME = re.compile(r"(?P<dataset>[a-z0-9]+)_(?P<model>[a-z0-9]+)_(?P<attack>ig|wiig|dia)_p.+")


@dataclass(frozen=True)
class ReplayResult:
    """The distance of a replay from its golden run."""

    name: str
    loss_deviation: float
    image_deviation: float
    iterations: int

    @property
    def passed(self) -> bool:
        """Both deviations are within their limits (a NaN is not)."""
        return self.loss_deviation <= LOSS_TOLERANCE and self.image_deviation <= IMAGE_TOLERANCE

    def __str__(self) -> str:
        return (
            f"{'PASS' if self.passed else 'FAIL'}  {self.name:34s}  {self.iterations:4d} iterations  "
            f"worst relative loss deviation {self.loss_deviation:.1e}  "
            f"worst absolute x_final deviation {self.image_deviation:.1e}"
        )


def runs(folder: Path) -> list[Path]:
    """The golden runs of a folder, in name order.

    Raises:
        GoldenError: The folder has none.
    """
    found = sorted(p for p in folder.glob("*.npz") if _NAME.fullmatch(p.stem))
    if not found:
        raise GoldenError(f"no golden run (<dataset>_<model>_<attack>_p<rate>.npz) in {folder}")
    return found


def replay(path: Path, device: torch.device = CPU) -> ReplayResult:
    """Repeat one golden run in float64 and compare every loss and the final image.

    Args:
        path: The run.
        device: Where to repeat it.

    Raises:
        GoldenError: The run or its weights cannot be read, lack an array, or do not fit the model.
    """
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise GoldenError(f"{path}: not named <dataset>_<model>_<attack>_p<rate>.npz")
    run = read_npz(path, None, what="golden run", error=GoldenError)
    _check(run, path)
    problem = _problem(run, match["dataset"], match["model"], match["attack"], path, device)
    losses: list[float] = []

    def observe(state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None:
        if state.active[0]:  # a GPU goes on until somebody looks
            losses.append(float(total_loss[0]))

    outcome = get_attack(match["attack"])(problem, victims_per_chunk=1).run(observe=observe)
    expected = run["losses"]
    if len(losses) != len(expected):
        return ReplayResult(path.stem, float("inf"), float("inf"), len(losses))
    loss = np.abs(np.array(losses) - expected) / np.abs(expected)
    image = np.abs(outcome.x[0].numpy() - run["x_final"])
    return ReplayResult(path.stem, float(loss.max()), float(image.max()), len(losses))


def _problem(
    run: dict[str, Any], dataset: str, model_name: str, attack: str, path: Path, device: torch.device
) -> Problem:
    """The one victim of a run, with the run's weights, masks and starting point."""
    if dataset not in NORMALISATIONS:
        raise GoldenError(
            f"{path}: no normalisation is known for '{dataset}'; known: {', '.join(NORMALISATIONS)}"
        )
    mean, std = (np.asarray(v, np.float32) for v in NORMALISATIONS[dataset])  # as a victim set stores them
    x = torch.tensor(run["victim"], dtype=torch.float64, device=device)[None]
    labels = torch.tensor(run["label"], dtype=torch.int64).reshape(1, -1)
    model = _model(run, model_name, path.with_name(f"{dataset}_{model_name}_weights.npz"), path, device)
    if not 0 <= int(labels.min()) <= int(labels.max()) < model.num_classes:
        raise GoldenError(
            f"{path}: label is {labels[0].tolist()}; with {model.num_classes} classes it must be in "
            f"[0, {model.num_classes})"
        )
    x0 = torch.tensor(run["x0"], dtype=torch.float64)[None]
    first_masks = [mask.double() for mask in _masks(run, "mask0", model, path)] if attack == "dia" else []
    settings = Settings(
        victims=1,
        batch_size=x.shape[1],
        precision="float64",
        **{limit: int(run[limit]) for limit in LIMITS},
    )
    return undefended_problem(
        model,
        x,
        labels.to(device),
        _masks(run, "client_mask", model, path),
        Normalisation.per_channel(mean, std, torch.float64, device),
        FixedInitialisation(x0, first_masks, [path.stem]),
        [path.stem],
        settings,
    )


def _model(
    run: dict[str, Any], name: str, weights_path: Path, path: Path, device: torch.device
) -> GradientEngine:
    """The attacked model with the weights of the run."""
    weights = read_npz(weights_path, None, what="golden run", error=GoldenError)
    classes = int(list(weights.values())[-1].shape[0])
    images, *sides = run["victim"].shape
    shape = (int(sides[0]), int(sides[1]), int(sides[2]))
    module = build_model(name, shape, classes, float(run["dropout_rate"]), seed=0).double()
    _load(module, weights, path)
    return BatchedGradientEngine(module.to(device), shape, classes, images)


def _check(run: dict[str, Any], path: Path) -> None:
    """Raise unless all arrays but the masks are there and fit each other."""
    if missing := [name for name in (*ARRAYS, *LIMITS) if name not in run]:
        raise GoldenError(f"{path}: lacks {', '.join(missing)}")
    shape = run["victim"].shape
    if len(shape) != 4:
        raise GoldenError(f"{path}: victim has shape {shape}; it must be (images, channels, height, width)")
    expected = {"x0": shape, "x_final": shape, "label": shape[:1], "losses": run["losses"].shape[:1]}
    expected |= dict.fromkeys(("dropout_rate", *LIMITS), ())
    for name, right in expected.items():
        if run[name].shape != right:
            raise GoldenError(f"{path}: {name} has shape {run[name].shape}; it must be {right}")


def _masks(run: dict[str, Any], kind: str, model: GradientEngine, path: Path) -> list[Tensor]:
    """One mask per dropout site, each (1, N, *site.shape) bool."""
    sites = {f"{kind}_{number:02d}": site for number, site in enumerate(model.sites)}
    if missing := [name for name in sites if name not in run]:
        raise GoldenError(f"{path}: lacks {', '.join(missing)}")
    for name, site in sites.items():
        right = (len(run["victim"]), *site.shape)
        if run[name].shape != right:
            raise GoldenError(f"{path}: {name} has shape {run[name].shape}; it must be {right}")
    return [torch.tensor(run[name], dtype=torch.bool)[None] for name in sites]


def _load(module: nn.Module, weights: dict[str, Any], path: Path) -> None:
    try:
        module.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    except RuntimeError as error:
        raise GoldenError(
            f"{path}: its weights do not fit the model: {' '.join(str(error).split())}"
        ) from error
