"""The order in which a client goes through its images."""

import torch

from dia.settings.federated import FederatedSettings
from dia.utils.randomness import generator


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
