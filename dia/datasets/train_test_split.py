"""Images to train and test a model on, none of them a victim."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dia.datasets.balanced_sampling import balanced_order
from dia.datasets.registry import load_source
from dia.datasets.source import ImageSource
from dia.datasets.specs import ImageDataset
from dia.datasets.victim_set import VictimSet, check_images, check_labels
from dia.errors import VictimError

TEST_FRACTION = 1 / 5
"""Of the images that are no victims, this part is for testing where a source has no split of its own for that."""


@dataclass(frozen=True, eq=False)
class Split:
    """Training and test images of a dataset, uint8 (n, H, W, C), with labels int64 (n,), balanced over classes."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    detail: str


def training_split(spec: ImageDataset, name: str, victims: VictimSet, train: int, test: int) -> Split:
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
    if spec.test_split is None:
        source = load_source(spec.all_images())
        rest = _without_victims(source, victims, name)
        tested = min(test, int(len(rest) * TEST_FRACTION))
        chosen = [(source, rest[tested : tested + train]), (source, rest[:tested])]
    else:
        parts = ("train", spec.test_split)
        sources = [load_source(spec.model_copy(update={"split": part})) for part in parts]
        if sources[0].detail == sources[1].detail:
            raise VictimError(
                f"dataset {name} (source {spec.source}: {sources[0].detail}): training needs images to test on, "
                f"and there is no {spec.test_split} split apart from the training images"
            )
        victims_part = spec.split  # type: ignore[attr-defined]
        rests = [
            _without_victims(source, victims if part == victims_part else None, name)
            for part, source in zip(parts, sources, strict=True)
        ]
        chosen = [(sources[0], rests[0][:train]), (sources[1], rests[1][:test])]
    (seen, own), (held_out, other) = (_read(source, index, spec, name, victims) for source, index in chosen)
    return Split(seen, own, held_out, other, chosen[0][0].detail)


def _read(
    source: ImageSource, index: NDArray[np.int64], spec: ImageDataset, name: str, victims: VictimSet
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of one part."""
    if not len(index):
        raise VictimError(
            f"dataset {name} (source {spec.source}): its {len(source.labels)} images leave none to train or test on "
            f"beside {len(victims)} victims; lower images, or use a source with more"
        )
    images = source.read(index)
    check_images(images, f"dataset {name}")
    return images, source.labels[index].astype(np.int64)


def _without_victims(source: ImageSource, victims: VictimSet | None, name: str) -> NDArray[np.int64]:
    """Positions of the images that are no victims, balanced over the classes in every prefix."""
    check_labels(source.labels, len(source.labels), source.num_classes, f"dataset {name}")
    order = balanced_order(source.labels, len(source.labels))
    if victims is None:
        return order
    index = victims.source_indices
    if index.max() >= len(source.labels) or (source.labels[index] != victims.labels).any():
        raise VictimError(
            f"dataset {name}: its victim set was made from another version of the source; delete "
            "results/<config>/victims and run again"
        )
    return order[~np.isin(order, index)]
