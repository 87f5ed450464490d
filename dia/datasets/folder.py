"""Source ``folder``: the user's own images in class folders (:mod:`dia.datasets.class_folders`), in their own size."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dia.datasets.class_folders import list_class_folders
from dia.datasets.image_file import read_image
from dia.datasets.source import ImageSource
from dia.datasets.specs import Folder
from dia.errors import VictimError
from dia.utils.paths import expanded


def load(spec: Folder) -> ImageSource:
    """List the files, to be opened when they are chosen.

    Raises:
        VictimError: There is no such folder, it has no class folders with images, one class only, or more classes than
            num_classes; on reading, images differ in size, are damaged, or coloured where the normalisation is grey.
    """
    root = expanded(spec.root)
    if not root.is_dir():
        raise VictimError(
            f"source folder: root {root} is not a folder; set root to the folder of class folders"
        )
    classes, files = list_class_folders(root, "source folder")
    num_classes = len(classes) if spec.num_classes is None else spec.num_classes
    if num_classes < max(2, len(classes)):
        raise VictimError(
            f"source folder: {root} has {len(classes)} class folder(s); a model needs at least 2 classes, and "
            "num_classes at least as many as there are folders"
        )
    grey = len(spec.mean_std[0]) == 1

    def read(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = [_pixels(files[i][0], grey) for i in index]
        for image, i in zip(images, index, strict=True):
            if image.shape != images[0].shape:
                sizes = [
                    f"{files[n][0]} has {a.shape[0]}x{a.shape[1]}"
                    for n, a in ((index[0], images[0]), (i, image))
                ]
                raise VictimError(
                    f"source folder: images differ in size: {', '.join(sizes)}; resize the files to one size, or "
                    "use the source imagenet, which resizes and crops"
                )
        return np.stack(images)

    return ImageSource(
        labels=np.array([label for _, label in files], dtype=np.int64),
        read=read,
        num_classes=num_classes,
        detail=f"{len(files)} images in {len(classes)} class folders",
        class_names=tuple(classes) if len(classes) == num_classes else (),
    )


def _pixels(path: Path, grey: bool) -> NDArray[np.uint8]:
    """One image as uint8 (H, W, C).

    Raises:
        VictimError: It is damaged or has no exact 8-bit pixels, or has colours where grey ones are asked for.
    """
    pixels = np.asarray(read_image(path, "source folder"), dtype=np.uint8)
    if not grey:
        return pixels
    if (pixels != pixels[..., :1]).any():
        raise VictimError(
            f"source folder: {path} has colours, and the normalisation is for grey images; "
            "give a normalisation of 3 channels"
        )
    return pixels[..., :1]
