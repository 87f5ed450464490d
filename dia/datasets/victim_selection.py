"""From a dataset's definition to its victim set: read the source, select, check."""

import numpy as np

from dia.datasets.balanced_sampling import balanced_order
from dia.datasets.registry import load_source
from dia.datasets.specs import ImageDataset
from dia.datasets.victim_set import VictimSet, check_images, check_labels
from dia.errors import VictimError

# SSIM (dia.evaluation.metrics) slides an 11 x 11 window over an image; a smaller image would have no score.
SMALLEST_SIDE = 11


def make_victims(spec: ImageDataset, name: str) -> VictimSet:
    """Make the victim set that a dataset definition describes; the same definition gives the same set.

    Args:
        spec: The definition.
        name: The dataset's name in the config.

    Raises:
        VictimError: The source is missing, damaged or too small, or its images or labels are unfit.
    """
    source = load_source(spec)
    what = f"dataset {name} (source {spec.source}: {source.detail})"
    if spec.images > len(source.labels):
        raise VictimError(
            f"{what}: {spec.images} images are asked for, the source has {len(source.labels)}; "
            "set images to at most that"
        )
    check_labels(source.labels, len(source.labels), source.num_classes, what)
    chosen = balanced_order(source.labels, spec.images)
    images = source.read(chosen)
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
        labels=source.labels[chosen].astype(np.int64),
        source_indices=chosen,
        mean=np.array(mean, dtype=np.float32),
        std=np.array(std, dtype=np.float32),
        dataset=name,
        source=spec.source,
        source_detail=source.detail,
        num_classes=source.num_classes,
        class_names=source.class_names,
    )
