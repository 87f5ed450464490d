"""Images to train and test a model on, none of them a victim."""

import importlib
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from dia.datasets.balanced_sampling import balanced_order
from dia.datasets.registry import LOADERS
from dia.datasets.source import ImageSource
from dia.datasets.specs import DatasetSpec, Photos
from dia.datasets.victim_set import VictimSet, check_images, check_labels
from dia.errors import VictimError

HELD_OUT = {"torchvision-mnist": "test", "torchvision-cifar10": "test", "imagenet": "val"}
"""Source -> its split of test images; the others have none."""
TEST_FRACTION = 5
"""Without a split of its own, one in so many images that are no victims is a test image."""
MOST_PHOTOS = 4096


@dataclass(frozen=True, eq=False)
class Split:
    """Training and test images of a dataset, uint8 (n, H, W, C), with labels int64 (n,), balanced over classes."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    detail: str


def training_split(spec: DatasetSpec, name: str, victims: VictimSet, train: int, test: int) -> Split:
    """At most ``train`` and ``test`` images of a source, without the victims.

    A source's own test split is used where it has one. Else a fifth of what the victims leave is for testing.

    Args:
        spec: The definition of the dataset.
        name: Its name in the config.
        victims: Its victim set; its images are left out of both parts.
        train, test: Most images of each part, at least 1.

    Raises:
        VictimError: The source is missing or damaged, is not the one that the victims are from, or has too few images.
    """
    splits = HELD_OUT.get(spec.source)
    if splits is None:
        wider = spec.model_copy(update={"images": MOST_PHOTOS}) if isinstance(spec, Photos) else spec
        pool = _load(wider)
        rest = _without_victims(pool, victims, name)
        tested = min(test, len(rest) // TEST_FRACTION)
        chosen = [(pool, rest[tested : tested + train]), (pool, rest[:tested])]
    else:
        victims_split = spec.split  # type: ignore[union-attr]
        pools = {split: _load(spec.model_copy(update={"split": split})) for split in ("train", splits)}
        if pools["train"].detail == pools[splits].detail:
            raise VictimError(
                f"dataset {name} (source {spec.source}: {pools['train'].detail}): training needs images to test on, "
                f"and there is no {splits} split apart from the training images"
            )
        rests = {
            split: _without_victims(pool, victims if split == victims_split else None, name)
            for split, pool in pools.items()
        }
        chosen = [(pools[s], rests[s][:most]) for s, most in (("train", train), (splits, test))]
    (seen, own), (held_out, other) = (_read(pool, index, spec, name, victims) for pool, index in chosen)
    return Split(seen, own, held_out, other, chosen[0][0].detail)


def _read(
    pool: ImageSource, index: NDArray[np.int64], spec: DatasetSpec, name: str, victims: VictimSet
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of one part."""
    if not len(index):
        raise VictimError(
            f"dataset {name} (source {spec.source}): its {len(pool.labels)} images leave none to train or test on "
            f"beside {len(victims)} victims; lower images, or use a source with more"
        )
    images = pool.read(index)
    check_images(images, f"dataset {name}")
    return images, pool.labels[index].astype(np.int64)


def _load(spec: DatasetSpec) -> ImageSource:
    return cast(ImageSource, importlib.import_module(LOADERS[spec.source]).load(spec))


def _without_victims(pool: ImageSource, victims: VictimSet | None, name: str) -> NDArray[np.int64]:
    """Positions of the images that are no victims, balanced over the classes in every prefix."""
    check_labels(pool.labels, len(pool.labels), pool.num_classes, f"dataset {name}")
    order = balanced_order(pool.labels, len(pool.labels))
    if victims is None:
        return order
    index = victims.source_indices
    if index.max() >= len(pool.labels) or (pool.labels[index] != victims.labels).any():
        raise VictimError(
            f"dataset {name}: its victim set was made from another version of the source; delete "
            "results/<config>/victims and run again"
        )
    return order[~np.isin(order, index)]
