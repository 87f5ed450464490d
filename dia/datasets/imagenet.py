"""Source ``imagenet``: class folders, each image's shorter side resized and its centre cropped.

:mod:`dia.datasets.class_folders` lists the files. For the 1000 folders of ILSVRC (n01440764, ...) the class numbers are
the usual labels.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dia.datasets.class_folders import list_class_folders
from dia.datasets.image_file import read_image
from dia.datasets.source import ImageSource
from dia.datasets.specs import ImageNet
from dia.errors import VictimError
from dia.utils.paths import expanded
from dia.utils.torchvision_compat import import_torchvision

ILSVRC = Path("ILSVRC", "Data", "CLS-LOC")


def load(spec: ImageNet) -> ImageSource:
    """List the files, to be opened when they are chosen.

    Raises:
        VictimError: There is no such folder, it has no class folders with images, images beside them, or more of them
            than the model has outputs; on reading, an image is damaged or has no exact 8-bit RGB.
    """
    folder = find_split(expanded(spec.root), spec.split)
    classes, files = list_class_folders(folder, "source imagenet")
    if len(classes) > spec.num_classes:
        raise VictimError(
            f"source imagenet: {folder} has {len(classes)} class folders and num_classes is {spec.num_classes}; "
            "it must be at least as many"
        )

    def read(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([_prepared(files[i][0], spec.resize, spec.size) for i in index])

    part = f"{spec.split} split, " if folder.name == spec.split else ""
    return ImageSource(
        labels=np.array([label for _, label in files], dtype=np.int64),
        read=read,
        num_classes=spec.num_classes,
        detail=f"{part}{len(files)} images in {len(classes)} class folders, resized to {spec.resize}, "
        f"cropped to {spec.size}x{spec.size}",
        class_names=tuple(classes) if len(classes) == spec.num_classes else (),
    )


def find_split(root: Path, split: str) -> Path:
    """The folder that holds the class folders.

    Raises:
        VictimError: ``root`` is no folder, or has the other split only.
    """
    if not root.is_dir():
        raise VictimError(f"source imagenet: root {root} is not a folder; set root to where ImageNet lies")
    for parent in (root, root / ILSVRC):
        if (parent / split).is_dir():
            return parent / split
        other = {"train": "val", "val": "train"}[split]
        if (parent / other).is_dir():
            raise VictimError(f"source imagenet: {parent} has {other}/ but no {split}/; set split: {other}")
    return root


def _prepared(path: Path, resize: int, size: int) -> NDArray[np.uint8]:
    """One image as uint8 (size, size, 3)."""
    import_torchvision()
    from torchvision.transforms.functional import center_crop
    from torchvision.transforms.functional import resize as resized

    image = read_image(path, "source imagenet")
    return np.asarray(center_crop(resized(image, [resize]), [size, size]), dtype=np.uint8)
