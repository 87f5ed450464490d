"""Build what an attack is given, and what it is measured against, from a cell's job and its victim set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

from dia.attacks.label_inference import align_to
from dia.attacks.problem import Initialisation, Problem
from dia.attacks.stop_reasons import FAILED
from dia.datasets.normalisation import Normalisation
from dia.datasets.victim_set import VictimSet
from dia.defences.apply import keeps_scale
from dia.errors import AttackError, VictimError
from dia.evaluation.attacker_view import attacker_view, inferred_labels
from dia.federated.client import compute_update, simulate_clients
from dia.federated.protocol import PRECISIONS, build_engine
from dia.federated.trained_model import TrainedModel
from dia.federated.update import ClientUpdate
from dia.gradients.engine import GradientEngine
from dia.gradients.unknown_dropout_rate import UnknownRateEngine
from dia.jobs.attack_job import AttackJob
from dia.settings.scenario import Settings
from dia.utils.randomness import untouched_generators

CHECKED_VICTIMS = 2
"""Victims on whose images the engine is held against plain autograd, beside random ones."""

CLIENT_FAILED = f"{FAILED}: the client gradient is not finite; check the model and its weights"


@dataclass(frozen=True)
class Experiment:
    """The victims of one cell whose client gradients are finite, ready to be attacked; all tensors on the CPU.

    Attributes:
        numbers: The V victims' numbers within the cell; those of the others are in ``failed``.
        failed: Stop reasons of the cell's victims that cannot be attacked, by their numbers.
        all_originals: The private images of all victims of the cell, as ``original``.
        all_labels: The labels of all victims of the cell; None where they are not known.
        problem: What the attack sees (and, for well-informed attacks, the clients' masks).
        original: (V, N, C, H, W) the private images in [0, 1], float64; NaN where nobody has them.
        labels: (V, N) the true labels; the problem has those that the attacker knows or infers.
        num_classes: Number of classes C.
        scoring_engine: The engine whose masks are compared with an attack's: the clients', or the attacker's where the
            clients drop nothing.
        true_masks: The clients' masks at the sites of ``scoring_engine``, (V, N, *site.shape) bool each; all True where
            the clients drop nothing. None where nobody knows them.
        normalisation: In the cell's precision.
        population: The victim set that chance levels are taken from; None where there is none.
        remarks: By the number of a victim what is odd about its update.
        doubted_from: Matching distance from which on a row says that its images do not explain the update; None: never.
    """

    numbers: list[int]
    failed: dict[int, str]
    all_originals: Tensor
    all_labels: list[list[int] | None]
    problem: Problem
    original: Tensor
    labels: Tensor
    num_classes: int
    scoring_engine: GradientEngine
    true_masks: list[Tensor] | None
    normalisation: Normalisation
    population: VictimSet | None = None
    remarks: Mapping[int, Sequence[str]] = field(default_factory=dict)
    doubted_from: float | None = None

    @cached_property
    def has_original(self) -> Tensor:
        """(V,) bool: whether somebody has the private images, so that there is something to score against."""
        return self.original.flatten(1).isfinite().all(1)

    @cached_property
    def influential_entries(self) -> list[Tensor]:
        """The mask entries that can influence the client gradient, per site (V, N, *site.shape) bool, on the CPU.

        An entry with no effect on the loss at the private images and full masks has none on the gradient either: its
        activation is zero, or it never reaches the output (the other tokens of a transformer's last block).
        """
        found: list[list[Tensor]] = [[] for _ in self.scoring_engine.sites]
        device = self.problem.device
        for original, labels in zip(self.original, self.labels.to(device), strict=True):
            x = self.normalisation.normalise(original).to(device)
            masks = [
                x.new_ones(site.mask_shape(len(x))).requires_grad_() for site in self.scoring_engine.sites
            ]
            loss = self.scoring_engine.losses(x[None], [mask[None] for mask in masks], labels[None]).sum()
            for site, slope in zip(found, torch.autograd.grad(loss, masks), strict=True):
                site.append((slope != 0).cpu())
        return [torch.stack(site) for site in found]


def build_experiment(
    job: AttackJob, victim_set: VictimSet, device: torch.device, trained: TrainedModel | None = None
) -> Experiment:
    """Build a cell's experiment: the private batches, what the clients send of them, and what the attacker sees.

    Weights, client masks and starting images depend on seed, architecture and victim alone, never on the attack.

    Args:
        job: The cell and its settings.
        victim_set: The images of its dataset.
        device: Where the models compute; it holds one client at a time.
        trained: The trained model, where the settings ask for one.

    Raises:
        VictimError: The victim set has too few images for the cell's victims.
        ModelError: The model cannot take these images.
        AttackError: The cell needs a trained model and has none, no client's gradient is finite, or labels are to be
            inferred and cannot be.
    """
    settings = job.settings
    if bool(settings.federated_rounds) != (trained is not None):
        needs = "needs its trained model (--trained)" if trained is None else "attacks an untrained model"
        raise AttackError(f"it {needs}: federated_rounds is {settings.federated_rounds}")
    original, labels = private_batches(job, victim_set)
    normalisation = Normalisation.per_channel(victim_set.mean, victim_set.std, PRECISIONS[settings.precision])
    build = partial(_build_engine, job, victim_set, device, trained)
    client = build(job.cell.p)
    ids = [victim_id(number) for number in range(settings.victims)]
    x = normalisation.normalise(original)
    with untouched_generators():
        client.check(x[:CHECKED_VICTIMS], labels[:CHECKED_VICTIMS])
        received, client_masks = simulate_clients(client, x, labels, settings, job.cell.seed, ids)
    finite = received.finite
    if not bool(finite.any()):
        raise AttackError(
            f"the client gradient of each of its {len(ids)} victims is not finite; check the model and its weights"
        )
    failed = dict.fromkeys((~finite).nonzero().flatten().tolist(), CLIENT_FAILED)
    all_originals, all_labels = original, labels.tolist()
    if failed:
        chosen = finite.nonzero().flatten()
        received, client_masks = received.select(chosen), [mask[chosen] for mask in client_masks]
        original, labels = original[chosen], labels[chosen]
        ids = [ids[number] for number in chosen.tolist()]
    known = labels
    if settings.attacker_labels == "inferred":
        found = inferred_labels(
            client, received, settings.batch_size, job.cell.seed, normalisation, keeps_scale(settings)
        )
        known = align_to(found, labels)
    problem = attacker_view(
        job.cell.attack,
        job.cell.seed,
        settings,
        client,
        build,
        received,
        client_masks,
        known,
        normalisation,
        ids,
    )
    attacker = problem.model
    if attacker is not client:
        attacker.check(normalisation.normalise(original[:CHECKED_VICTIMS]), labels[:CHECKED_VICTIMS])
    scoring_engine, true_masks = client, client_masks
    if not client.sites and attacker.sites:
        scoring_engine = attacker.known if isinstance(attacker, UnknownRateEngine) else attacker
        true_masks = [
            torch.ones(len(ids), *site.mask_shape(settings.batch_size), dtype=torch.bool)
            for site in scoring_engine.sites
        ]
    return Experiment(
        numbers=finite.nonzero().flatten().tolist(),
        failed=failed,
        all_originals=all_originals,
        all_labels=all_labels,
        problem=problem,
        original=original,
        labels=labels,
        num_classes=victim_set.num_classes,
        scoring_engine=scoring_engine,
        true_masks=true_masks,
        normalisation=normalisation,
        population=victim_set,
    )


def victim_id(number: int) -> str:
    """The id of the victim with this number within its cell."""
    return f"{number:04d}"


def private_batches(job: AttackJob, victim_set: VictimSet) -> tuple[Tensor, Tensor]:
    """The victims' images (V, N, C, H, W) in [0, 1], float64, and labels (V, N): the first ones of the victim set.

    Raises:
        VictimError: The victim set has too few images.
    """
    victims, images = job.settings.victims, job.settings.batch_size
    if victims * images > len(victim_set):
        raise VictimError(
            f"{victims} victims of {images} images are needed; the victim set has {len(victim_set)}"
        )
    pixels, labels = victim_set.tensors(victims * images)
    return pixels.reshape(victims, images, *victim_set.shape), labels.view(victims, images)


def undefended_problem(
    model: GradientEngine,
    x: Tensor,
    labels: Tensor,
    client_masks: Sequence[Tensor],
    normalisation: Normalisation,
    initialisation: Initialisation,
    victim_ids: Sequence[str],
    settings: Settings,
) -> Problem:
    """The problem of an attacker that knows model and labels, of clients without defences: replays and tests need it.

    Args:
        model: The model of clients and attacker, on the CPU.
        x: (V, N, C, H, W) the private images, normalised.
        labels: (V, N).
        client_masks: Per site (V, N, *site.shape) bool.
        normalisation: In the model's precision.
        initialisation: Where attacks start.
        victim_ids: Ids of the V victims.
        settings: Settings of the attack.

    Raises:
        AttackError: An update is not finite.
    """
    low, high = normalisation.bounds()
    received = ClientUpdate.of(compute_update(model, x, client_masks, labels))
    return Problem(
        model, received, labels, model.shape, low, high, client_masks, initialisation, victim_ids, settings
    )


def _build_engine(
    job: AttackJob, victim_set: VictimSet, device: torch.device, trained: TrainedModel | None, rate: float
) -> GradientEngine:
    """The cell's model with dropout at ``rate``; its weights do not depend on the rate."""
    cell, settings = job.cell, job.settings
    return build_engine(
        cell.model,
        victim_set.shape,
        victim_set.num_classes,
        rate,
        cell.seed,
        settings,
        images=settings.batch_size,
        device=device,
        own=job.model,
        trained=trained,
    )
