"""The engine that computes what a scenario's clients send."""

import torch
from torch import nn

from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.engine import GradientEngine
from dia.gradients.local_sgd import LocalSGDEngine
from dia.settings.federated import FederatedSettings
from dia.utils.randomness import generator

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


def build_engine(
    network: nn.Module,
    shape: tuple[int, int, int],
    num_classes: int,
    settings: FederatedSettings,
    images: int,
    seed: int,
) -> GradientEngine:
    """Gradients (FedSGD) or local steps (FedAvg), for clients of ``images`` images.

    Args:
        network: The model, in train mode, its dropout replayable.
        shape: (C, H, W) of one image.
        num_classes: Number of outputs.
        settings: What clients compute.
        images: Images N of a client.
        seed: The cell's seed, which the order of minibatches derives from.
    """
    if steps := local_steps(settings, images, seed):
        return LocalSGDEngine(network, shape, num_classes, steps, settings.local_learning_rate)
    return BatchedGradientEngine(network, shape, num_classes, images)


def update_scale(engine: GradientEngine) -> float:
    """By what a client multiplies its gradients before it sends them."""
    return engine.learning_rate if isinstance(engine, LocalSGDEngine) else 1.0


def steps_per_update(engine: GradientEngine) -> int:
    """How many gradients, one a step, are in the sum that a client sends."""
    return len(engine.steps) if isinstance(engine, LocalSGDEngine) else 1


def local_steps(settings: FederatedSettings, images: int, seed: int) -> list[list[int]]:
    """The minibatches of all local steps, as numbers in [0, images): in every epoch each image once, shuffled.

    The order comes from the cell's seed alone. It is the same for every victim, whose images are in no particular
    order, and the server knows it. Within a minibatch images stand in ascending order: its gradient is the same, and
    one step on the whole batch is FedSGD to the last mask.
    """
    size = settings.local_batch_size or images
    steps = []
    for epoch in range(settings.local_epochs):
        order = torch.randperm(images, generator=generator(seed, "batch_order", epoch)).tolist()
        steps += [sorted(order[first : first + size]) for first in range(0, images, size)]
    return steps
