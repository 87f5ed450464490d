"""From a cell's description and its victim set to what the attack is given and what it is measured against."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dia.attacks.problem import Problem, pixel_box
from dia.client import draw_masks, send
from dia.errors import VictimError
from dia.job import Job
from dia.matching.folded import FoldedModel
from dia.models.registry import build
from dia.randomness import generator, normal
from dia.victims.store import VictimSet

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Experiment:
    """One cell, ready to be attacked.

    Attributes:
        problem: What the attack sees (and, for well-informed attacks, the clients' masks).
        original: (V, N, C, H, W) the private images in [0, 1], float64, on the CPU.
        mean, std: (C, 1, 1) of the normalisation, in the cell's precision.
    """

    problem: Problem
    original: Tensor
    mean: Tensor
    std: Tensor

    def to_pixels(self, x: Tensor) -> Tensor:
        """Normalised images (..., C, H, W) to [0, 1]."""
        return (x * self.std + self.mean).clamp(0, 1)


def prepare(job: Job, victim_set: VictimSet, device: torch.device) -> Experiment:
    """Build the model, let every client compute and send its gradient, and draw where the attack starts.

    Weights, client masks and starting images depend on seed, architecture and victim alone, never on the attack.

    Raises:
        VictimError: The victim set has too few images for the cell's victims.
        ModelError: The model cannot take these images.
    """
    cell, settings = job.cell, job.settings
    victims, batch_size = settings.victims, settings.batch_size
    if victims * batch_size > len(victim_set):
        raise VictimError(
            f"cell {cell.id} needs {victims} victims of {batch_size} images; the victim set has {len(victim_set)}"
        )
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

    network = build(cell.model, victim_set.shape, victim_set.num_classes, cell.p, cell.seed)
    model = FoldedModel(network.to(device, dtype), victim_set.shape, victim_set.num_classes, batch_size)
    client_masks = draw_masks(model.sites, cell.seed, ids, batch_size, x, "client_masks")
    x0 = torch.stack([normal(tuple(x.shape[1:]), generator(cell.seed, v, "x0"), dtype) for v in ids]).to(device)
    problem = Problem(
        model=model,
        received=send(model, x, client_masks, labels),
        labels=labels,
        x0=x0,
        low=low,
        high=high,
        client_masks=client_masks,
        initial_masks=draw_masks(model.sites, cell.seed, ids, batch_size, x, "initial_masks"),
        victim_ids=ids,
        settings=settings,
    )
    return Experiment(problem, original, mean, std)
