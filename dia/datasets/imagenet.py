"""Source ``imagenet``: a folder of class folders, one image per file.

Classes are numbered in the order of their folders' names, as torchvision's ImageFolder numbers them; for the 1000
folders of ILSVRC (n01440764, ...) these are the usual labels. Sub-folders of a class folder belong to the class; hidden
folders are left out. An image is prepared as usual: its shorter side resized,
the centre cropped.
"""

import os
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dia.datasets.image_file import read_image
from dia.datasets.source import ImageSource
from dia.datasets.specs import ImageNet
from dia.errors import VictimError
from dia.utils.torchvision_compat import import_torchvision

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".webp", ".tif", ".tiff")
UNREAD_SUFFIXES = (".gif", ".heic", ".heif", ".avif", ".jp2", ".jfif", ".tga", ".pgm", ".pbm", ".pnm", ".svg")
ILSVRC = Path("ILSVRC", "Data", "CLS-LOC")


def load(spec: ImageNet) -> ImageSource:
    """List the files, to be opened when they are chosen.

    Raises:
        VictimError: There is no such folder, it has no class folders with images, images beside them, or more of them
            than the model has outputs; on reading, an image is damaged or has no exact 8-bit RGB.
    """
    folder = find_split(Path(spec.root).expanduser(), spec.split)
    classes = sorted(entry.name for entry in _visible(folder) if entry.is_dir())
    files = [(path, label) for label, name in enumerate(classes) for path in _images(folder / name)]
    loose = [entry.name for entry in _visible(folder) if _is_image(entry)]
    if not files:
        advice = " The images lie in it side by side: sort them into one folder per class." if loose else ""
        raise VictimError(f"source imagenet: {folder} has no class folders with images.{advice}")
    if loose:
        raise VictimError(
            f"source imagenet: {folder} has images beside its class folders ({min(loose)}, {len(loose)} in all): move "
            "them into the folder of their class, or away"
        )
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


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds but hidden files and folders (.ipynb_checkpoints, .git), by name."""
    return sorted((e for e in os.scandir(folder) if not e.name.startswith(".")), key=lambda entry: entry.name)


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is an image file.

    Raises:
        VictimError: It is one of a format that is not read.
    """
    name = entry.name.lower()
    if name.endswith(UNREAD_SUFFIXES) and entry.is_file():
        raise VictimError(
            f"source imagenet: {entry.path} is of a format that is not read; convert it to PNG, or move it away"
        )
    return name.endswith(SUFFIXES) and entry.is_file()


def _images(folder: Path, outer: tuple[str, ...] = ()) -> list[Path]:
    """The image files of a folder, then those of its sub-folders, as torchvision's ImageFolder orders them.

    Raises:
        VictimError: A link leads back into a folder around it.
    """
    place = os.path.realpath(folder)
    if place in outer:
        raise VictimError(
            f"source imagenet: {folder} leads back to {place}, which holds it; remove that link"
        )
    entries = _visible(folder)
    inner = [_images(folder / entry.name, (*outer, place)) for entry in entries if entry.is_dir()]
    return [folder / entry.name for entry in entries if _is_image(entry)] + list(chain.from_iterable(inner))


def _prepared(path: Path, resize: int, size: int) -> NDArray[np.uint8]:
    """One image as uint8 (size, size, 3)."""
    import_torchvision()
    from torchvision.transforms.functional import center_crop
    from torchvision.transforms.functional import resize as resized

    image = read_image(path, "source imagenet")
    return np.asarray(center_crop(resized(image, [resize]), [size, size]), dtype=np.uint8)
