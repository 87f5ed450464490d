"""Clients: their dropout masks, their updates and their defences."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dia.defences.apply import active_defences, defend
from dia.federated.protocol import update_scale
from dia.federated.update import ClientUpdate, cheaper_form, concatenate_victims
from dia.gradients.engine import GradientEngine
from dia.gradients.factored import DenseGradient, ParameterGradient
from dia.models.dropout import Site
from dia.models.parameters import reference_parameter
from dia.settings.defences import DefenceSettings
from dia.settings.scenario import Settings
from dia.utils.randomness import bernoulli, derive_seed, generator


def simulate_clients(
    model: GradientEngine,
    x: Tensor,
    labels: Tensor,
    settings: Settings,
    seed: int,
    victim_ids: Sequence[str],
) -> tuple[ClientUpdate, list[Tensor]]:
    """Let every client compute, defend and send its update, one after the other.

    Args:
        model: The model as the server sent it, on the device that computes.
        x: (V, N, C, H, W), normalised, on the CPU.
        labels: (V, N), on the CPU.
        settings: Defences, and how clients seed their masks.
        seed: The cell's seed.
        victim_ids: Ids of the V clients.

    Returns:
        What the server receives, finite or not, and the clients' masks, per site (V, N, *site.shape) bool; all on the
        CPU.
    """
    device, cpu = reference_parameter(model.model).device, torch.device("cpu")
    masks = draw_client_masks(model.sites, seed, victim_ids, x.shape[1], settings.client_mask_seed_space)
    updates = []
    for number, name in enumerate(victim_ids):
        only = slice(number, number + 1)
        update = compute_update(
            model, x[only].to(device), [mask[only] for mask in masks], labels[only].to(device)
        )
        update = apply_defences(update, model, settings, seed, [name], update_scale(model))
        updates.append({key: gradient.to(cpu) for key, gradient in update.items()})
    # Parameter by parameter, so that no second copy of all gradients is ever held.
    together = {key: concatenate_victims([u.pop(key) for u in updates]) for key in list(updates[0])}
    return ClientUpdate.unchecked(together), masks


def draw_masks(
    sites: Sequence[Site], seed: int, victim_ids: Sequence[str], batch_size: int, purpose: str
) -> list[Tensor]:
    """Bernoulli(1 - p) masks of every site, (V, N, *site.shape) bool, each victim's from its own generator.

    Args:
        sites: Dropout sites in module order.
        seed: The cell's seed.
        victim_ids: Ids of the V victims.
        batch_size: Images N of a victim.
        purpose: What they are for, e.g. ``client_masks``.
    """
    return draw_bernoulli_masks(
        [generator(seed, victim, purpose) for victim in victim_ids], sites, batch_size
    )


def draw_client_masks(
    sites: Sequence[Site],
    seed: int,
    victim_ids: Sequence[str],
    batch_size: int,
    seed_space: int | None,
) -> list[Tensor]:
    """The clients' masks, as :func:`draw_masks`; or from a client's own small seed.

    Args:
        seed_space: How many seeds a client chooses from, at random; None: a generator that nobody can guess.
    """
    if seed_space is None:
        return draw_masks(sites, seed, victim_ids, batch_size, "client_masks")
    chosen = [derive_seed(seed, victim, "client_seed") % seed_space for victim in victim_ids]
    return draw_bernoulli_masks([client_generator(number) for number in chosen], sites, batch_size)


def client_generator(client_seed: int) -> torch.Generator:
    """The generator that a client with this seed draws its masks from: public, like the code that clients run."""
    return generator(client_seed, "client_masks")


def draw_bernoulli_masks(
    rngs: Sequence[torch.Generator], sites: Sequence[Site], batch_size: int
) -> list[Tensor]:
    """Bernoulli(1 - p) masks of every site, bool on the CPU, one after the other, from one generator per victim."""
    return [
        torch.stack([bernoulli(site.mask_shape(batch_size), 1 - site.rate, rng, torch.bool) for rng in rngs])
        for site in sites
    ]


def compute_update(
    model: GradientEngine, x: Tensor, masks: Sequence[Tensor], labels: Tensor
) -> dict[str, ParameterGradient]:
    """Compute what V clients send without defences.

    That is the gradient of the mean cross-entropy over each one's N images, with dropout, or with local steps the sum
    of the gradients on the way.

    Args:
        model: The model as the server sent it.
        x: (V, N, C, H, W), normalised.
        masks: The clients' masks, per site (V, N, *site.shape), of any type and on any device.
        labels: (V, N).

    Returns:
        One gradient per parameter, as factors where those are smaller than the matrix.
    """
    pieces = model.gradients(x, [mask.to(x) for mask in masks], labels, differentiable=False)
    return {name: cheaper_form(piece) for name, piece in pieces.items()}


def apply_defences(
    gradient: dict[str, ParameterGradient],
    model: GradientEngine,
    settings: DefenceSettings,
    seed: int,
    victim_ids: Sequence[str],
    unit: float = 1.0,
) -> dict[str, ParameterGradient]:
    """Apply the clients' defences, if there are any, to full matrices of every parameter.

    Args:
        gradient: What they compute.
        model: The model that they compute it with.
        settings: Their defences.
        seed: The cell's seed.
        victim_ids: Ids of the V victims.
        unit: They send ``gradient`` times this (a learning rate), and the server divides by it.
    """
    if not active_defences(settings):
        return gradient
    plain = {}
    for name, parameter in model.parameters.items():
        piece = gradient.get(name)
        plain[name] = (
            parameter.new_zeros(len(victim_ids), *parameter.shape) if piece is None else unit * piece.dense()
        )
    rngs = [generator(seed, victim, "defence_noise") for victim in victim_ids]
    return {name: DenseGradient(v / unit) for name, v in defend(plain, settings, rngs).items()}
