"""From a cell's description and its victim set to what the attack is given and what it is measured against."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dia.attacks.label_inference import MADE_UP_IMAGES, aligned, infer_labels
from dia.attacks.optimisation.initialisation import RandomInitialisation
from dia.attacks.problem import Problem
from dia.datasets.normalisation import Normalisation
from dia.datasets.victim_set import VictimSet
from dia.defences.apply import keeps_scale
from dia.errors import AttackError, VictimError
from dia.federated.client import apply_defences, compute_update, draw_client_masks
from dia.federated.protocol import PRECISIONS, build_engine, steps_per_update, update_scale
from dia.federated.trained_model import TrainedModel
from dia.federated.update import ClientUpdate, concatenate_victims
from dia.gradients.engine import GradientEngine
from dia.gradients.factored import ParameterGradient
from dia.gradients.unknown_dropout_rate import START, UnknownRateEngine
from dia.jobs.attack_job import AttackJob
from dia.models.build import build_model
from dia.utils.randomness import generator


@dataclass(frozen=True)
class Experiment:
    """One cell, ready to be attacked; all tensors on the CPU.

    Attributes:
        problem: What the attack sees (and, for well-informed attacks, the clients' masks).
        original: (V, N, C, H, W) the private images in [0, 1], float64.
        labels: (V, N) the true labels; the problem has those that the attacker knows or infers.
        num_classes: Number of classes C.
        client: The clients' model; where it drops nothing, one that drops where the attacker thinks it does.
        true_masks: What the masks of ``client`` are, per site (V, N, *site.shape) bool; True where it drops nothing.
        normalisation: In the cell's precision.
    """

    problem: Problem
    original: Tensor
    labels: Tensor
    num_classes: int
    client: GradientEngine
    true_masks: list[Tensor]
    normalisation: Normalisation

    @cached_property
    def influential_entries(self) -> list[Tensor]:
        """Which mask entries can influence the client gradient, per site (V, N, *site.shape) bool, on the CPU.

        An entry with no effect on the loss at the private images and full masks has none on the gradient either: its
        activation is zero, or it never reaches the output (the other tokens of a transformer's last block).
        """
        found: list[list[Tensor]] = [[] for _ in self.client.sites]
        device = self.problem.device
        for original, labels in zip(self.original, self.labels.to(device), strict=True):
            x = self.normalisation.normalise(original).to(device)
            masks = [x.new_ones(site.mask_shape(len(x))).requires_grad_() for site in self.client.sites]
            loss = self.client.losses(x[None], [mask[None] for mask in masks], labels[None]).sum()
            for site, slope in zip(found, torch.autograd.grad(loss, masks), strict=True):
                site.append((slope != 0).cpu())
        return [torch.stack(site) for site in found]


def prepare(
    job: AttackJob, victim_set: VictimSet, device: torch.device, trained: TrainedModel | None = None
) -> Experiment:
    """Build the model, let every client compute and send its gradient, and draw where the attack starts.

    Args:
        job: The cell and its settings.
        victim_set: The images of its dataset.
        device: Where the models compute; it holds one client at a time.
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
    pixels, labels = victim_set.tensors(count)
    original = pixels.reshape(victims, batch_size, *victim_set.shape)
    labels = labels.view(victims, batch_size)
    normalisation = Normalisation.per_channel(victim_set.mean, victim_set.std, dtype)
    x = normalisation.normalise(original)
    low, high = normalisation.bounds()

    client = _engine(job, victim_set, device, cell.p, trained)
    client_masks = draw_client_masks(
        client.sites, cell.seed, ids, batch_size, settings.client_mask_seed_space
    )

    def sent(victim: int) -> dict[str, ParameterGradient]:
        only = slice(victim, victim + 1)
        masks = [mask[only] for mask in client_masks]
        gradient = compute_update(client, x[only].to(device), masks, labels[only].to(device))
        return apply_defences(gradient, client, settings, cell.seed, ids[only], update_scale(client))

    received = _gathered(map(sent, range(victims)))
    attacker = _attackers_engine(job, victim_set, device, client, trained)
    problem = Problem(
        model=attacker,
        received=received,
        labels=_attackers_labels(job, victim_set, client, received, labels, normalisation),
        shape=victim_set.shape,
        low=low.to(device),
        high=high.to(device),
        client_masks=client_masks,
        starts=RandomInitialisation(
            cell.seed, (batch_size, *victim_set.shape), attacker.sites, settings.mask_init, dtype
        ),
        victim_ids=ids,
        settings=settings,
    )
    true_masks = client_masks
    if not client.sites and attacker.sites:
        client = _plain(attacker)
        true_masks = [
            torch.ones(victims, *site.mask_shape(batch_size), dtype=torch.bool) for site in client.sites
        ]
    return Experiment(problem, original, labels, victim_set.num_classes, client, true_masks, normalisation)


def _gathered(sent: Iterable[dict[str, ParameterGradient]]) -> ClientUpdate:
    """What several clients send, one after the other, together on the CPU."""
    cpu = torch.device("cpu")
    parts = [{name: piece.to(cpu) for name, piece in part.items()} for part in sent]
    # Parameter by parameter, so that no second copy of all gradients is ever held.
    return ClientUpdate.of(
        {name: concatenate_victims([part.pop(name) for part in parts]) for name in list(parts[0])}
    )


def _engine(
    job: AttackJob, victim_set: VictimSet, device: torch.device, rate: float, trained: TrainedModel | None
) -> GradientEngine:
    """The cell's model with dropout at ``rate``; its weights do not depend on the rate."""
    cell, settings, shape, classes = job.cell, job.settings, victim_set.shape, victim_set.num_classes
    sites = settings.dropout_sites
    network = build_model(cell.model, shape, classes, rate, cell.seed, sites=sites, own=job.model)
    if trained is not None:
        trained.load_into(network)
    network = network.to(device, PRECISIONS[settings.precision])
    return build_engine(network, shape, classes, settings, settings.batch_size, cell.seed)


def _attackers_engine(
    job: AttackJob,
    victim_set: VictimSet,
    device: torch.device,
    client: GradientEngine,
    trained: TrainedModel | None,
) -> GradientEngine:
    """The model as the attacker believes the client runs it; only ``dia`` needs to believe anything."""
    assumed = job.settings.attacker_dropout_rate
    if job.cell.attack != "dia" or assumed == "known":
        return client
    if assumed == "unknown":
        return UnknownRateEngine(_engine(job, victim_set, device, START, trained))
    return _engine(job, victim_set, device, float(assumed), trained)


def _plain(engine: GradientEngine) -> GradientEngine:
    return engine.known if isinstance(engine, UnknownRateEngine) else engine


def _attackers_labels(
    job: AttackJob,
    victim_set: VictimSet,
    client: GradientEngine,
    received: ClientUpdate,
    labels: Tensor,
    normalisation: Normalisation,
) -> Tensor:
    """(V, N) the attacker's labels, on the CPU; inferred ones in the order of the true ones as far as they agree."""
    if job.settings.attacker_labels == "known":
        return labels
    rng = generator(job.cell.seed, "made_up_images")
    pixels = torch.rand((MADE_UP_IMAGES, *victim_set.shape), generator=rng, dtype=torch.float64)
    made_up = normalisation.normalise(pixels).to(next(client.model.parameters()).device)
    scale = float(steps_per_update(client)) if keeps_scale(job.settings) else None
    images = job.settings.batch_size
    found = infer_labels(client.model, received, images, victim_set.num_classes, made_up, scale)
    return aligned(found, labels)
