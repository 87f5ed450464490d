"""From a cell's description and its victim set to what the attack is given and what it is measured against."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dia.attacks.labels import MADE_UP_IMAGES, aligned, infer_labels
from dia.attacks.masks import first_masks, start_generators
from dia.attacks.problem import Problem, Start, pixel_box
from dia.client import ClientGradient, draw_client_masks, protect, send
from dia.defences.apply import keeps_scale
from dia.engines import PRECISIONS, engine_of, gradients_sent, unit_of
from dia.errors import AttackError, VictimError
from dia.job import Job
from dia.matching.engine import Engine
from dia.matching.unknown_rate import START, UnknownRate
from dia.models.registry import build
from dia.randomness import generator, normal
from dia.trained import TrainedModel
from dia.victims.store import VictimSet


@dataclass(frozen=True)
class Experiment:
    """One cell, ready to be attacked.

    Attributes:
        problem: What the attack sees (and, for well-informed attacks, the clients' masks).
        original: (V, N, C, H, W) the private images in [0, 1], float64, on the CPU.
        labels: (V, N) the true labels; the problem has those that the attacker knows or infers.
        num_classes: Number of classes C.
        client: The clients' model; where it drops nothing, one that drops where the attacker thinks it does.
        true_masks: What the masks of ``client`` are, per site (V, N, *site.shape); ones where it drops nothing.
        mean, std: (C, 1, 1) of the normalisation, in the cell's precision.
    """

    problem: Problem
    original: Tensor
    labels: Tensor
    num_classes: int
    client: Engine
    true_masks: list[Tensor]
    mean: Tensor
    std: Tensor

    def to_pixels(self, x: Tensor) -> Tensor:
        """Normalised images (..., C, H, W) to [0, 1]."""
        return (x * self.std + self.mean).clamp(0, 1)


def prepare(
    job: Job, victim_set: VictimSet, device: torch.device, trained: TrainedModel | None = None
) -> Experiment:
    """Build the model, let every client compute and send its gradient, and draw where the attack starts.

    Args:
        job: The cell and its settings.
        victim_set: The images of its dataset.
        device: Where.
        trained: The trained model, where the settings ask for one.

    Weights, client masks and starting images depend on seed, architecture and victim alone, never on the attack.

    Raises:
        VictimError: The victim set has too few images for the cell's victims.
        ModelError: The model cannot take these images.
        AttackError: The cell needs a trained model and has none, a client's gradient is not finite, or labels are to
            be inferred and cannot be.
    """
    cell, settings = job.cell, job.settings
    victims, batch_size = settings.victims, settings.batch_size
    if victims * batch_size > len(victim_set):
        raise VictimError(
            f"cell {cell.id} needs {victims} victims of {batch_size} images; the victim set has {len(victim_set)}"
        )
    if bool(settings.federated_rounds) != (trained is not None):
        needs = "needs its trained model (--trained)" if trained is None else "attacks an untrained model"
        raise AttackError(f"it {needs}: federated_rounds is {settings.federated_rounds}")
    dtype = PRECISIONS[settings.precision]
    ids = [f"{number:04d}" for number in range(victims)]
    count = victims * batch_size
    pixels = torch.tensor(victim_set.images[:count], dtype=torch.float64).permute(0, 3, 1, 2) / 255
    original = pixels.reshape(victims, batch_size, *victim_set.shape)
    labels = torch.tensor(victim_set.labels[:count]).view(victims, batch_size).to(device)
    statistics = [torch.tensor(v, dtype=dtype)[:, None, None] for v in (victim_set.mean, victim_set.std)]
    mean, std = (value.to(device) for value in statistics)
    x = (original.to(device, dtype) - mean) / std
    low, high = pixel_box(mean.flatten(), std.flatten())

    client = _engine(job, victim_set, device, cell.p, trained)
    client_masks = draw_client_masks(
        client.sites, cell.seed, ids, batch_size, x, settings.client_mask_seed_space
    )
    sent = send(client, x, client_masks, labels)
    received = protect(sent, client, settings, cell.seed, ids, unit_of(client))
    attacker = _attackers_engine(job, victim_set, device, client, trained)

    def start(restart: int, victim_ids: Sequence[str]) -> Start:
        draws = start_generators(cell.seed, victim_ids, "x0", restart)
        x0 = torch.stack([normal(tuple(x.shape[1:]), rng, dtype) for rng in draws]).to(device)
        draws = start_generators(cell.seed, victim_ids, "initial_masks", restart)
        rates = [site.rate for site in attacker.sites]
        masks = first_masks(settings.mask_init, attacker.sites, rates, batch_size, draws, dtype)
        return x0, [mask.to(device) for mask in masks]

    x0, initial_masks = start(0, ids)
    problem = Problem(
        model=attacker,
        received=received,
        labels=_attackers_labels(job, victim_set, client, received, labels, mean, std),
        x0=x0,
        low=low,
        high=high,
        client_masks=client_masks,
        initial_masks=initial_masks,
        victim_ids=ids,
        settings=settings,
        further_starts=start,
    )
    true_masks = client_masks
    if not client.sites and attacker.sites:
        client, true_masks = _plain(attacker), [torch.ones_like(mask) for mask in problem.initial_masks]
    return Experiment(problem, original, labels, victim_set.num_classes, client, true_masks, mean, std)


def _engine(
    job: Job, victim_set: VictimSet, device: torch.device, rate: float, trained: TrainedModel | None
) -> Engine:
    """The cell's model with dropout at ``rate``; its weights do not depend on the rate."""
    cell, settings, shape, classes = job.cell, job.settings, victim_set.shape, victim_set.num_classes
    sites = settings.dropout_sites
    network = build(cell.model, shape, classes, rate, cell.seed, sites=sites, own=job.model)
    if trained is not None:
        trained.load_into(network)
    network = network.to(device, PRECISIONS[settings.precision])
    return engine_of(network, shape, classes, settings, settings.batch_size, cell.seed)


def _attackers_engine(
    job: Job, victim_set: VictimSet, device: torch.device, client: Engine, trained: TrainedModel | None
) -> Engine:
    """The model as the attacker believes the client runs it; only ``dia`` needs to believe anything."""
    assumed = job.settings.attacker_dropout_rate
    if job.cell.attack != "dia" or assumed == "known":
        return client
    if assumed == "unknown":
        return UnknownRate(_engine(job, victim_set, device, START, trained))
    return _engine(job, victim_set, device, float(assumed), trained)


def _plain(engine: Engine) -> Engine:
    return engine.known if isinstance(engine, UnknownRate) else engine


def _attackers_labels(
    job: Job,
    victim_set: VictimSet,
    client: Engine,
    received: ClientGradient,
    labels: Tensor,
    mean: Tensor,
    std: Tensor,
) -> Tensor:
    """(V, N) the labels that the attacker uses; inferred ones in the order of the true ones as far as they agree."""
    if job.settings.labels == "known":
        return labels
    rng = generator(job.cell.seed, "made_up_images")
    pixels = torch.rand((MADE_UP_IMAGES, *victim_set.shape), generator=rng, dtype=torch.float64)
    made_up = (pixels.to(mean) - mean) / std
    scale = float(gradients_sent(client)) if keeps_scale(job.settings) else None
    images = job.settings.batch_size
    found = infer_labels(client.model, received, images, victim_set.num_classes, made_up, scale)
    return aligned(found, labels)
