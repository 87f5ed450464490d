"""The protocol of a scenario: what its clients compute, and the engine that computes it."""

import torch
from torch import nn

from dia.errors import ModelError
from dia.federated.trained_model import TrainedModel
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.engine import GradientEngine
from dia.gradients.local_sgd import LocalSGDEngine
from dia.models.build import build_model
from dia.models.custom import CustomModel
from dia.settings.federated import FederatedSettings
from dia.settings.scenario import Settings
from dia.utils.randomness import generator

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


def build_engine(
    model: str,
    shape: tuple[int, int, int],
    num_classes: int,
    rate: float,
    seed: int,
    settings: Settings,
    *,
    images: int,
    device: torch.device,
    own: CustomModel | None = None,
    trained: TrainedModel | None = None,
) -> GradientEngine:
    """Build a model and the engine of its clients: gradients (FedSGD) or local steps (FedAvg).

    Args:
        model: An architecture, or the name of a user's own model.
        shape: (C, H, W) of one image.
        num_classes: Number of outputs.
        rate: Dropout rate, 0 <= rate < 1; the weights do not depend on it.
        seed: The cell's seed, which weights and the order of minibatches derive from.
        settings: Where the model drops, its precision, and what clients compute.
        images: Images N of a client.
        device: Where it computes.
        own: How a user's own model is made.
        trained: Weights to load; None for those of the initialisation.

    Raises:
        ModelError: The model cannot be built or cannot take these images, or the trained weights do not fit.
    """
    steps = local_steps(settings, images, seed)
    network = build_model(
        model,
        shape,
        num_classes,
        rate,
        seed,
        sites=settings.dropout_sites,
        own=own,
        sizes=sorted({len(step) for step in steps} or {images}),
    )
    _check_precision(model, network, settings.precision)
    if trained is not None:
        trained.load_into(network)
    network = network.to(device, PRECISIONS[settings.precision])
    if steps:
        return LocalSGDEngine(network, shape, num_classes, steps, settings.local_learning_rate)
    return BatchedGradientEngine(network, shape, num_classes, images)


def _check_precision(name: str, network: nn.Module, precision: str) -> None:
    """See that computing in this precision is what the model does by itself.

    Raises:
        ModelError: It has weights of another type, which a cast would round, or make compute more exactly than it does.
    """
    for key, parameter in network.named_parameters():
        own = str(parameter.dtype).removeprefix("torch.")
        if parameter.is_floating_point() and own not in ("float32", precision):
            remedy = "set precision: float64, or return it" if own == "float64" else "return it"
            raise ModelError(
                f"model '{name}' has weights of type {own} ('{key}'), and the scenario computes in {precision}: "
                f"{remedy} with .float()"
            )


def update_scale(engine: GradientEngine) -> float:
    """The factor by which a client multiplies its gradients before it sends them."""
    return engine.learning_rate if isinstance(engine, LocalSGDEngine) else 1.0


def steps_per_update(engine: GradientEngine) -> int:
    """The number of gradients, one per step, in the sum that a client sends."""
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
