"""Source ``imagenet``: a folder of class folders, one image per file.

Classes are numbered in the order of their folders' names, as torchvision's ImageFolder numbers them; for the 1000
folders of ILSVRC (n01440764, ...) these are the usual labels. An image is prepared as usual: its shorter side resized,
the centre cropped.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dia.datasets.source import ImageSource
from dia.datasets.specs import ImageNet
from dia.errors import VictimError
from dia.utils.torchvision_compat import import_torchvision

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".webp", ".tif", ".tiff")
ILSVRC = Path("ILSVRC", "Data", "CLS-LOC")


def load(spec: ImageNet) -> ImageSource:
    """List the files, to be opened when they are chosen.

    Raises:
        VictimError: There is no such folder, it has no class folders with images, or more of them than the model has
            outputs; on reading, an image is damaged.
    """
    folder = find_split(Path(spec.root).expanduser(), spec.split)
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    files = [(path, label) for label, name in enumerate(classes) for path in _images(folder / name)]
    if not files:
        loose = (
            " The images lie in it side by side: sort them into one folder per class."
            if _images(folder)
            else ""
        )
        raise VictimError(f"source imagenet: {folder} has no class folders with images.{loose}")
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


def _images(folder: Path) -> list[Path]:
    """The image files of a folder, by name."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(SUFFIXES))
    return [folder / name for name in names]


def _prepared(path: Path, resize: int, size: int) -> NDArray[np.uint8]:
    """One image as uint8 (size, size, 3)."""
    import_torchvision()
    from PIL import Image
    from torchvision.transforms.functional import center_crop
    from torchvision.transforms.functional import resize as resized

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise VictimError(
            f"source imagenet: {path} is damaged or not an image ({error}); replace it"
        ) from error
    return np.asarray(center_crop(resized(image, [resize]), [size, size]), dtype=np.uint8)
