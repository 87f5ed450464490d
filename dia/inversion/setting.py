"""An attack in all but the update that it is run on: the same for a client and for a made-up twin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dia.attacks.optimisation.state import SearchState
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem
from dia.attacks.registry import ATTACKS, get_attack
from dia.attacks.stop_reasons import FAILED
from dia.datasets.normalisation import Normalisation
from dia.errors import AttackError, UpdateError
from dia.evaluation.attacker_view import attacker_view
from dia.federated.client import simulate_clients
from dia.federated.protocol import PRECISIONS
from dia.federated.update import ClientUpdate
from dia.gradients.engine import GradientEngine
from dia.inversion.client_model import DropoutRates, Shape, client_engine
from dia.inversion.protocol import Protocol
from dia.inversion.result import Twin, score
from dia.settings.optimisation import SearchSettings
from dia.settings.scenario import Settings
from dia.utils.devices import select_device
from dia.utils.randomness import generator
from dia.utils.validation_errors import unknown_name_message, validate_model

SETTINGS = (*SearchSettings.model_fields, "precision")
"""The settings that :func:`invert` takes."""

Progress = Callable[[int, float], None]
"""Is called in every iteration with its number, from 0, and the matching distance of its image."""


@dataclass(frozen=True)
class Setting:
    """Everything about an attack but the update: the same for a client and its twin."""

    network: nn.Module
    shape: Shape
    num_classes: int
    images: int
    protocol: Protocol
    method: str
    device: torch.device
    seed: int
    normalisation: Normalisation
    settings: Settings
    warnings: list[str]

    @classmethod
    def of(
        cls,
        network: nn.Module,
        shape: Shape,
        num_classes: int,
        images: int,
        protocol: Protocol,
        dropout_rates: DropoutRates,
        method: str,
        device: str,
        seed: int,
        mean: float | Sequence[float] | None,
        std: float | Sequence[float] | None,
        changes: dict[str, Any],
    ) -> "Setting":
        """Check what the user said about the attack.

        Raises:
            UpdateError: An unknown method or setting, or a normalisation that cannot be one.
            ConfigError: A setting is out of range.
            AttackError: There is no such device.
        """
        reason = ATTACKS[method].needs_a_simulation if method in ATTACKS else ""
        if method not in ATTACKS or reason:
            possible = [name for name, entry in ATTACKS.items() if not entry.needs_a_simulation]
            raise UpdateError(
                f"method {method!r}: {reason}; use one of {', '.join(possible)}"
                if reason
                else f"method: {unknown_name_message('attack', str(method), possible)}"
            )
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UpdateError(f"seed is {seed!r}; it must be a whole number of at least 0")
        unknown = [name for name in changes if name not in SETTINGS]
        if unknown:
            raise UpdateError(unknown_name_message("setting", unknown[0], SETTINGS))
        said: dict[str, Any] = {"batch_size": images, "victims": 1}
        said |= {"attacker_dropout_rate": "unknown"} if dropout_rates == "unknown" else {}
        settings = validate_model(Settings, {**ATTACKS[method].defaults, **changes, **said}, "settings")
        normalisation, warnings = _normalisation(mean, std, shape[0], PRECISIONS[settings.precision])
        return cls(
            network, shape, num_classes, images, protocol, method, select_device(device), seed, normalisation,
            settings, warnings,
        )  # fmt: skip

    @property
    def dtype(self) -> torch.dtype:
        return PRECISIONS[self.settings.precision]

    def engine(self, rate: float | None = None) -> GradientEngine:
        """The client's model; with another dropout rate where one is given."""
        return client_engine(
            self.network,
            self.shape,
            self.num_classes,
            self.images,
            self.protocol,
            self.device,
            self.dtype,
            rate,
        )

    def problem(
        self, client: GradientEngine, sent: ClientUpdate, labels: Tensor, victim_ids: list[str]
    ) -> Problem:
        """The input of the attack: the updates of V clients, and their labels (V, N)."""
        return attacker_view(
            self.method, self.seed, self.settings, client, self.engine, sent, [], labels,
            self.normalisation, victim_ids,
        )  # fmt: skip

    def run(self, problem: Problem, progress: Progress | None) -> Outcome:
        """Run the attack.

        Raises:
            AttackError: It failed: a loss or its gradient is not finite.
        """

        def observe(state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None:
            if progress is not None:
                progress(state.iteration, float(matching_distance[0]))

        notes: list[str] = []
        outcome = get_attack(self.method)(problem, 1).run(observe=observe, notify=notes.append)
        outcome.notes[:0] = notes
        if outcome.stop_reason[0].startswith(FAILED):
            raise AttackError(outcome.stop_reason[0].removeprefix(f"{FAILED}: "))
        return outcome

    def twin(self, client: GradientEngine, labels: Tensor) -> Twin:
        """Attack a made-up client with these labels: smooth images, masks of its own, nothing else different."""
        rng = generator(self.seed, "twin")
        size = [max(2, side // 4) for side in self.shape[1:]]
        coarse = torch.rand(self.images, self.shape[0], *size, generator=rng, dtype=torch.float64)
        smooth = torch.nn.functional.interpolate(coarse, self.shape[1:], mode="bicubic").clamp(0, 1)
        x = self.normalisation.normalise(smooth)[None]
        sent, _ = simulate_clients(client, x, labels[None], self.settings, self.seed, ["0000"])
        outcome = self.run(self.problem(client, sent, labels[None], ["0000"]), None)
        found = self.normalisation.to_pixels(outcome.x[0].cpu()).float()
        return Twin(
            found,
            smooth.float(),
            score(found, smooth),
            float(outcome.matching_distance[0]),
            outcome.stop_reason[0],
        )


def _normalisation(
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
    channels: int,
    dtype: torch.dtype,
) -> tuple[Normalisation, list[str]]:
    """The normalisation, and a warning where none was given."""
    if (mean is None) != (std is None):
        raise UpdateError(f"{'std' if std is None else 'mean'} is missing: give mean and std, or neither")
    warnings = []
    if mean is None or std is None:
        mean, std = 0.0, 1.0
        warnings.append(
            "mean and std were not given: the client's images are taken to enter the model as pixels in [0, 1]"
        )
    values = {}
    for name, given in (("mean", mean), ("std", std)):
        try:
            value = torch.as_tensor(given, dtype=torch.float64).reshape(-1)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UpdateError(f"{name} is {given!r}; it must be a number, or one per channel") from error
        value = value.expand(channels) if len(value) == 1 else value
        if len(value) != channels:
            raise UpdateError(f"{name} has {len(value)} values; the images have {channels} channel(s)")
        good = value.isfinite() & (value > 0 if name == "std" else value >= 0)
        if not bool(good.all()) or float(value.max()) > 1:
            raise UpdateError(
                f"{name} is {value.tolist()}; it describes [0, 1] pixels, so it must be "
                f"{'above 0' if name == 'std' else 'at least 0'} and at most 1 (divide values for 0-255 pixels by 255)"
            )
        values[name] = value.tolist()
    return Normalisation.per_channel(values["mean"], values["std"], dtype), warnings
