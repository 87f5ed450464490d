"""The problem as the attacker sees it: the model, rate and labels that it assumes."""

from collections.abc import Callable

import torch
from torch import Tensor

from dia.attacks.label_inference import AUXILIARY_IMAGES, infer_labels
from dia.attacks.optimisation.initialisation import RandomInitialisation
from dia.attacks.problem import Problem
from dia.attacks.registry import ATTACKS
from dia.datasets.normalisation import Normalisation
from dia.federated.protocol import steps_per_update
from dia.federated.update import ClientUpdate
from dia.gradients.engine import GradientEngine
from dia.gradients.unknown_dropout_rate import START, UnknownRateEngine
from dia.models.parameters import reference_parameter
from dia.settings.scenario import Settings
from dia.utils.randomness import generator


def attacker_view(
    attack: str,
    seed: int,
    settings: Settings,
    client: GradientEngine,
    build: Callable[[float], GradientEngine],
    received: ClientUpdate,
    client_masks: list[Tensor],
    labels: Tensor,
    normalisation: Normalisation,
    victim_ids: list[str],
) -> Problem:
    """The problem that the attack is given.

    Args:
        attack: Name of the attack.
        seed: Where its starts are drawn from.
        settings: The attack's settings.
        client: The model as the clients run it.
        build: Builds it with another dropout rate.
        received: What the clients sent, on the CPU.
        client_masks: The clients' masks, for well-informed attacks alone.
        labels: (V, N) as the attacker knows or infers them, on the CPU.
        normalisation: In the engine's precision.
        victim_ids: Ids of the V victims.
    """
    attacker = _attackers_engine(attack, settings, client, build)
    device = reference_parameter(attacker.model).device
    low, high = normalisation.bounds()
    return Problem(
        model=attacker,
        received=received,
        labels=labels,
        shape=attacker.shape,
        low=low.to(device),
        high=high.to(device),
        client_masks=client_masks,
        initialisation=RandomInitialisation(
            seed, (settings.batch_size, *attacker.shape), attacker.sites, settings.mask_init, low.dtype
        ),
        victim_ids=victim_ids,
        settings=settings,
    )


def _attackers_engine(
    attack: str, settings: Settings, client: GradientEngine, build: Callable[[float], GradientEngine]
) -> GradientEngine:
    """The model as the attacker believes the clients run it; only some attacks assume anything."""
    assumed = settings.attacker_dropout_rate
    if not ATTACKS[attack].assumes_dropout_rate or assumed == "known":
        return client
    if assumed == "unknown":
        return UnknownRateEngine(build(START))
    return build(float(assumed))


def inferred_labels(
    client: GradientEngine,
    received: ClientUpdate,
    images: int,
    seed: int,
    normalisation: Normalisation,
    scale_known: bool,
) -> Tensor:
    """(V, N) labels inferred from what the clients sent, on the CPU, in ascending order.

    Args:
        client: The model as the clients run it.
        received: What they sent, on the CPU.
        images: Images N of a client.
        seed: Where the attacker's own images are drawn from.
        normalisation: In the engine's precision.
        scale_known: Whether the magnitude of what was sent tells that of the gradient.

    Raises:
        AttackError: The model has no last linear layer.
    """
    rng = generator(seed, "made_up_images")
    pixels = torch.rand((AUXILIARY_IMAGES, *client.shape), generator=rng, dtype=torch.float64)
    auxiliary_images = normalisation.normalise(pixels).to(reference_parameter(client.model).device)
    scale = float(steps_per_update(client)) if scale_known else None
    return infer_labels(client.model, received, images, client.num_classes, auxiliary_images, scale)
