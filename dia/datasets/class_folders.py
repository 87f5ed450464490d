"""A folder of class folders, one image per file: which classes it has, and which files.

Classes are numbered in the order of their folders' names, as torchvision's ImageFolder numbers them. Sub-folders of a
class folder belong to the class; hidden folders are left out.
"""

import os
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from dia.errors import VictimError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".webp", ".tif", ".tiff")
UNREAD_SUFFIXES = (".gif", ".heic", ".heif", ".avif", ".jp2", ".jfif", ".tga", ".pgm", ".pbm", ".pnm", ".svg")


class ClassFolders(NamedTuple):
    """The names of the classes in order, and every file with its class."""

    classes: list[str]
    files: list[tuple[Path, int]]


def list_class_folders(folder: Path, what: str) -> ClassFolders:
    """List the image files of every class, without opening any.

    Args:
        folder: The folder that holds the class folders.
        what: The reader, for errors, such as ``source imagenet``.

    Raises:
        VictimError: There are no class folders with images, images lie beside them, or a file's format is
            not read.
    """
    classes = sorted(entry.name for entry in _visible(folder) if entry.is_dir())
    files = [(path, label) for label, name in enumerate(classes) for path in _images(folder / name, what)]
    loose = [entry.name for entry in _visible(folder) if _is_image(entry, what)]
    if not files:
        advice = " The images lie in it side by side: sort them into one folder per class." if loose else ""
        raise VictimError(f"{what}: {folder} has no class folders with images.{advice}")
    if loose:
        raise VictimError(
            f"{what}: {folder} has images beside its class folders ({min(loose)}, {len(loose)} in all): move "
            "them into the folder of their class, or away"
        )
    return ClassFolders(classes, files)


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """The content of a folder without hidden files and folders (.ipynb_checkpoints, .git), by name."""
    return sorted((e for e in os.scandir(folder) if not e.name.startswith(".")), key=lambda entry: entry.name)


def _is_image(entry: os.DirEntry[str], what: str) -> bool:
    """Tell whether an entry is an image file.

    Raises:
        VictimError: It is one of a format that is not read.
    """
    name = entry.name.lower()
    if name.endswith(UNREAD_SUFFIXES) and entry.is_file():
        raise VictimError(
            f"{what}: {entry.path} is of a format that is not read; convert it to PNG, or move it away"
        )
    return name.endswith(SUFFIXES) and entry.is_file()


def _images(folder: Path, what: str, outer: tuple[str, ...] = ()) -> list[Path]:
    """The image files of a folder, then those of its sub-folders, as torchvision's ImageFolder orders them.

    Raises:
        VictimError: A link leads back into a folder around it.
    """
    place = os.path.realpath(folder)
    if place in outer:
        raise VictimError(f"{what}: {folder} leads back to {place}, which holds it; remove that link")
    entries = _visible(folder)
    inner = [_images(folder / entry.name, what, (*outer, place)) for entry in entries if entry.is_dir()]
    return [folder / entry.name for entry in entries if _is_image(entry, what)] + list(
        chain.from_iterable(inner)
    )
