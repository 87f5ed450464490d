"""Cells of seconds: the built-in architectures with few parameters, on random images."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
from torch import nn

from dia.datasets.train_test_split import Split
from dia.datasets.victim_set import VictimSet
from dia.execution.run_cell import run_cell
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.models import resnet18 as resnet
from dia.models.custom import CustomModel
from dia.models.mlp import MLP
from dia.models.registry import MODELS
from dia.models.vit import ViT
from dia.settings.scenario import Settings
from dia.utils.torchvision_compat import import_torchvision

Shape = tuple[int, int, int]
CLASSES = 10
SIDES = {"lenet": 25, "resnet18": 16}
"""Sides of the images, 12 where nothing is said: lenet takes none below 25."""
LBFGS = {"lbfgs_start_iteration": 2, "mask_penalty_weight": 0.0, "lbfgs_history_size": 2}


def mlp(shape: Shape, num_classes: int, p: float) -> MLP:
    return MLP(shape, num_classes, p, width=16, depth=2)


def vit(shape: Shape, num_classes: int, p: float) -> ViT:
    return ViT(shape, num_classes, p, patch=4, dim=16, depth=2, heads=2, hidden=12)


def vit_b16(shape: Shape, num_classes: int, p: float) -> ViT:
    return ViT(shape, num_classes, p, patch=6, dim=12, depth=1, heads=3, hidden=8)


def resnet18(shape: Shape, num_classes: int, p: float) -> nn.Module:
    """One block a stage instead of two, so 5 million parameters instead of 11."""

    import_torchvision()
    from torchvision.models.resnet import BasicBlock, ResNet

    def shallow(**arguments: Any) -> nn.Module:
        return ResNet(BasicBlock, [1, 1, 1, 1], **arguments)

    with mock.patch("torchvision.models.resnet18", shallow):
        return resnet.resnet18(shape, num_classes, p)


def batch_norm(channels: int, height: int, width: int, num_classes: int, dropout_rate: float) -> nn.Module:
    """A user's model whose images are not independent of each other: one victim at a time."""
    layers = [
        nn.Conv2d(channels, 2, 3),
        nn.BatchNorm2d(2),
        nn.Tanh(),
        nn.Dropout2d(dropout_rate),
        nn.Flatten(),
    ]
    return nn.Sequential(*layers, nn.Linear(2 * (height - 2) * (width - 2), num_classes))


@contextmanager
def small_models() -> Iterator[None]:
    """Inside the block the built-in names stand for small models, ``lenet``, which is small, for itself."""
    small = {
        name: replace(MODELS[name], factory=f"helpers.small_cells:{name}")
        for name in ("mlp", "vit", "vit_b16", "resnet18")
    }
    with mock.patch.dict(MODELS, small):
        yield


def victim_set(model: str, images: int = 4) -> VictimSet:
    """Random images of three classes."""
    side = SIDES.get(model, 12)
    rng = np.random.default_rng(0)
    return VictimSet(
        images=rng.integers(0, 256, (images, side, side, 1), np.uint8),
        labels=np.arange(images) % 3,
        source_indices=np.arange(images),
        mean=np.array([0.5], np.float32),
        std=np.array([0.5], np.float32),
        dataset="random",
        source="random",
        source_detail="random pixels",
        num_classes=CLASSES,
    )


def training_images(model: str) -> Split:
    """Random images to train on."""
    some = victim_set(model, 8)
    return Split(some.images, some.labels, some.images[:4], some.labels[:4], "random pixels")


def make_job(attack: str, model: str = "mlp", own: CustomModel | None = None, **changes: Any) -> AttackJob:
    """Two victims of one image, four iterations in float64; ``changes`` override."""
    settings = {"victims": 2, "max_iterations": 4, "precision": "float64", **changes}
    cell = Cell("default", "random", model, "0.5", attack, 0)
    fingerprinted = own and own.with_fingerprint()
    return AttackJob.from_config(cell, Settings(**settings), {}, fingerprinted)


def run(job: AttackJob, device: str, *, full_size: bool = False, **how: Any) -> list[dict[str, Any]]:
    """The rows of a cell of a small or a full-size model, all victims in one chunk where nothing else is said."""
    arguments = {"threads": 1, "victims_per_chunk": job.settings.victims, **how}
    with nullcontext() if full_size else small_models():
        images = victim_set(job.cell.model, job.settings.victims * job.settings.batch_size)
        return run_cell(job, images, device=device, **arguments)
