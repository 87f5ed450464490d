"""Train a model federatedly, with dropout and the clients' defences, and measure its test accuracy.

Clients own disjoint parts of the training images. In a round some of them compute what the scenario's clients compute
(a gradient, or local steps), defend it, and the server takes a step along the mean of what it receives.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dia.datasets.normalisation import Normalisation
from dia.datasets.train_test_split import Split
from dia.datasets.victim_set import VictimSet
from dia.errors import AttackError, TrainingError
from dia.federated.client import apply_defences, compute_update, draw_masks
from dia.federated.protocol import PRECISIONS, build_engine, steps_per_update, update_scale
from dia.federated.trained_model import TrainedModel
from dia.federated.update import ClientUpdate
from dia.gradients.engine import GradientEngine
from dia.jobs.training_job import TrainingJob
from dia.utils.log import LOG
from dia.utils.randomness import generator

REPORTS = 10
"""Lines of the log about the training loss."""
TESTED_AT_ONCE = 256

Batch = tuple[Tensor, Tensor]
"""A client's images (1, N, C, H, W), normalised, and labels (1, N)."""


def train(job: TrainingJob, split: Split, victims: VictimSet, device: torch.device) -> TrainedModel:
    """Train a model from its initialisation.

    Args:
        job: What to train, and how.
        split: Images, without the victims.
        victims: The victim set, for its normalisation.
        device: The device that trains it.

    Returns:
        The weights, and as ``utility``: ``test_accuracy`` and ``test_loss`` with dropout off, ``test_accuracy_chance``
        (always the most frequent class), ``train_loss`` (of the last round's clients before it, dropout off),
        ``train_images`` and ``tested_images``.

    Raises:
        TrainingError: There are fewer clients than a round needs, or the loss is not finite.
        ModelError: The model cannot take these images.
    """
    settings, seed, size = job.settings, job.seed, job.settings.training_batch_size
    engine = build_engine(
        job.model_name,
        victims.shape,
        victims.num_classes,
        float(job.dropout_rate),
        seed,
        settings,
        images=size,
        device=device,
        own=job.model,
    )
    normalisation = Normalisation.per_channel(
        victims.mean, victims.std, PRECISIONS[settings.precision], device
    )
    clients = _clients(len(split.train_labels), size, settings.training_clients, seed)
    pixels, labels = torch.tensor(split.train_images), torch.tensor(split.train_labels)
    rounds, loss = settings.federated_rounds, float("nan")
    for number in range(1, rounds + 1):
        rng = generator(seed, "training_round", number)
        chosen = torch.randperm(len(clients), generator=rng)[: settings.training_clients].tolist()
        batches = [
            (_images(pixels[clients[c]], normalisation)[None], labels[clients[c]].to(device)[None])
            for c in chosen
        ]
        names = [f"round{number}-client{c}" for c in chosen]
        try:
            if number == rounds or number % max(1, rounds // REPORTS) == 0:
                loss = _loss(engine, batches)
                LOG.info("round %d of %d: training loss %.4f", number, rounds, loss)
            _round(engine, batches, names, job)
        except AttackError as error:  # a client's gradient is not finite
            rate = "local_learning_rate" if settings.local_epochs else "server_learning_rate"
            raise TrainingError(
                f"training {job.name} diverges in round {number} of {rounds}; lower {rate} ({error})"
            ) from error
    utility = _evaluate(engine.model, normalisation, split)
    utility |= {"train_loss": loss, "train_images": len(clients) * size}
    LOG.info("test accuracy %.4f, chance %.4f", utility["test_accuracy"], utility["test_accuracy_chance"])
    return TrainedModel.of(engine.model, job.canonical_json(), victims.sha256, utility)


def _images(pixels: Tensor, normalisation: Normalisation) -> Tensor:
    """Stored images, uint8 (n, H, W, C), as the model sees them, (n, C, H, W)."""
    return normalisation.normalise(pixels.to(normalisation.mean).movedim(-1, -3) / 255)


def _clients(images: int, size: int, wanted: int, seed: int) -> Tensor:
    """Deal shuffled images to clients of ``size`` images each: indices (clients, size); the rest is left over."""
    count = images // size
    if count < wanted:
        raise TrainingError(
            f"{images} training images make {count} clients of {size} images, and a round takes {wanted}: lower "
            "training_clients or training_batch_size, or raise training_images where the source has more"
        )
    order = torch.randperm(images, generator=generator(seed, "training_clients"))
    return order[: count * size].view(count, size)


def _round(engine: GradientEngine, batches: list[Batch], names: list[str], job: TrainingJob) -> None:
    """Run one round: every client computes, defends and sends; the server takes a step."""
    settings, parameters = job.settings, engine.parameters
    summed = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    buffers = []
    for (x, labels), name in zip(batches, names, strict=True):
        masks = draw_masks(engine.sites, job.seed, [name], x.shape[1], "training_masks")
        sent = compute_update(engine, x, masks, labels)
        buffers.append(engine.buffers.end)
        sent = apply_defences(sent, engine, settings, job.seed, [name], update_scale(engine))
        for key, piece in ClientUpdate.of(sent).pieces.items():
            summed[key] += piece.dense()[0]
    rate = settings.local_learning_rate if settings.local_epochs else settings.server_learning_rate
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.sub_(rate / len(batches) * summed[key])
    engine.buffers.set([_averaged(values) for values in zip(*buffers, strict=True)])


def _averaged(values: Sequence[Tensor]) -> Tensor:
    """The mean of the clients' buffers (running statistics), as in FedAvg; of counters, which are alike, the first."""
    return torch.stack(list(values)).mean(0) if values[0].is_floating_point() else values[0]


def _loss(engine: GradientEngine, batches: list[Batch]) -> float:
    """The clients' mean loss, without dropout."""
    with torch.no_grad():
        losses = [float(engine.losses(x, None, labels)) / steps_per_update(engine) for x, labels in batches]
    return sum(losses) / len(losses)


@torch.no_grad()
def _evaluate(model: nn.Module, normalisation: Normalisation, split: Split) -> dict[str, float]:
    """Accuracy and loss on the test images, dropout off, and the accuracy of the most frequent class."""
    pixels, labels = torch.tensor(split.test_images), torch.tensor(split.test_labels)
    training = model.training
    model.eval()
    logits = torch.cat(
        [model(_images(part, normalisation)).cpu().double() for part in pixels.split(TESTED_AT_ONCE)]
    )
    model.train(training)
    return {
        "test_accuracy": float((logits.argmax(1) == labels).double().mean()),
        "test_accuracy_chance": float(labels.bincount().max()) / len(labels),
        "test_loss": float(F.cross_entropy(logits, labels)),
        "tested_images": len(labels),
    }
