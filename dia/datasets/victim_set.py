"""The stored form of a victim set: one .npz, read with numpy alone."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dia.datasets.balanced_sampling import imbalance
from dia.errors import VictimError
from dia.utils.files import atomic_path
from dia.utils.npz import read_npz

if TYPE_CHECKING:
    from torch import Tensor

    from dia.datasets.specs import ImageDataset

ARRAYS = ("images", "labels", "source_indices", "mean", "std")
META_KEYS = ("dataset", "source", "source_detail", "num_classes")


@dataclass(frozen=True, eq=False)
class VictimSet:
    """The fixed private images of one dataset, in the order in which cells take them.

    Every prefix is as balanced over the classes as the source allows, so a cell that attacks only the first
    few images still sees all classes.

    Attributes:
        images: uint8 (n, H, W, C), C is 1 or 3.
        labels: int64 (n,), each in [0, num_classes).
        source_indices: int64 (n,), the number of each image in its source.
        mean: float32 (C,), on [0, 1] pixels; a model sees (pixel / 255 - mean) / std.
        std: float32 (C,), on [0, 1] pixels, positive.
        dataset: The dataset's name in the config.
        source: Key of the source, such as ``bundled-mnist``.
        source_detail: What exactly was read, in words; no machine paths.
        num_classes: Number of classes of the dataset (not only of those present).
        class_names: One name per class, or empty where the source has none.

    Raises:
        VictimError: Shapes, dtypes or values do not fit together.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    source_indices: NDArray[np.int64]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    dataset: str
    source: str
    source_detail: str
    num_classes: int
    class_names: tuple[str, ...] = ()

    experiment: ClassVar[str] = "dia.evaluation.experiment:build_experiment"

    def __post_init__(self) -> None:
        check_images(self.images, f"victim set {self.dataset}")
        check_labels(self.labels, len(self.images), self.num_classes, f"victim set {self.dataset}")
        channels = (self.images.shape[3],)
        for name, dtype, shape in (
            ("labels", np.int64, (len(self),)),
            ("source_indices", np.int64, (len(self),)),
            ("mean", np.float32, channels),
            ("std", np.float32, channels),
        ):
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape:
                raise VictimError(
                    f"victim set {self.dataset}: {name} is {array.dtype} {array.shape}; "
                    f"it must be {np.dtype(dtype)} {shape}"
                )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.std).all() and (self.std > 0).all()):
            raise VictimError(
                f"victim set {self.dataset}: mean {self.mean.tolist()} and std {self.std.tolist()} "
                "must be finite, std positive"
            )
        for name in ARRAYS:
            getattr(self, name).flags.writeable = False

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image, as torch has it."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Images of each class, int64 (num_classes,)."""
        return np.bincount(self.labels, minlength=self.num_classes).astype(np.int64)

    def tensors(self, count: int | None = None) -> "tuple[Tensor, Tensor]":
        """The first ``count`` images (all for None): pixels (n, C, H, W) in [0, 1], float64, and labels (n,)."""
        import torch  # here, so that making and reading victim sets needs numpy alone

        pixels = torch.tensor(self.images[:count], dtype=torch.float64).permute(0, 3, 1, 2) / 255
        return pixels, torch.tensor(self.labels[:count])

    @cached_property
    def sha256(self) -> str:
        """Hash of what determines results: arrays and number of classes, not names or descriptions."""
        digest = hashlib.sha256(f"num_classes {self.num_classes}\n".encode())
        for name in ARRAYS:
            array = np.ascontiguousarray(getattr(self, name))
            little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
            digest.update(little_endian.tobytes())
        return digest.hexdigest()

    def columns(self, number: int, images: int) -> dict[str, Any]:
        """Columns of a result row about victim ``number``, which has so many images."""
        span = slice(number * images, (number + 1) * images)
        indices = self.source_indices[span].tolist()
        return {"source_indices": indices, "update_file": None, "update_sha256": None}

    def describe(self) -> list[str]:
        """The content of the set, in lines for a log."""
        channels, height, width = self.shape
        present = self.class_counts[self.class_counts > 0]
        lines = [
            f"{len(self)} images of {height}x{width}x{channels} from {self.source} ({self.source_detail})",
            f"{len(present)} of {self.num_classes} classes, {present.min()} to {present.max()} images each; "
            f"sha256 {self.sha256}",
        ]
        return [*lines, shortfall] if (shortfall := imbalance(self.class_counts)) else lines

    @classmethod
    def make(cls, spec: "ImageDataset", name: str) -> "VictimSet":
        """Make the set of a definition; see :func:`dia.datasets.victim_selection.make_victims`."""
        from dia.datasets.victim_selection import make_victims

        return make_victims(spec, name)

    def save(self, path: str | Path) -> None:
        """Write the set to ``path`` (.npz), whole or not at all; the same set gives the same bytes.

        Raises:
            VictimError: ``path`` does not end in .npz (numpy would write another name).
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise VictimError(f"a victim set is written to an .npz file, not to {path}")
        meta: dict[str, Any] = {key: getattr(self, key) for key in META_KEYS}
        if self.class_names:
            meta["class_names"] = list(self.class_names)
        arrays = {name: getattr(self, name) for name in ARRAYS}
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, meta=np.array(json.dumps(meta, sort_keys=True)), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "VictimSet":
        """Read a set that :meth:`save` wrote.

        Raises:
            VictimError: The file is missing, truncated, foreign, or does not hold a sound victim set.
        """
        arrays: dict[str, Any] = dict(read_npz(path, (*ARRAYS, "meta"), what="victim set", error=VictimError))
        try:
            meta = json.loads(str(arrays.pop("meta")))
            described: dict[str, Any] = {key: meta[key] for key in META_KEYS}
            described["class_names"] = tuple(meta.get("class_names", ()))
            described["num_classes"] = int(meta["num_classes"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise VictimError(
                f"victim set {path}: its description (meta) must be JSON with {', '.join(META_KEYS)} "
                f"({type(error).__name__}: {error})"
            ) from error
        try:
            return cls(**arrays, **described)
        except VictimError as error:
            raise VictimError(f"{error} (in {path})") from error


def check_images(images: NDArray[Any], what: str) -> None:
    """Refuse anything but at least one uint8 image (n, H, W, C) with one or three channels.

    Raises:
        VictimError: ``what`` has another dtype or shape.
    """
    if images.dtype != np.uint8:
        raise VictimError(f"{what}: images are {images.dtype}; they must be uint8 with values 0 to 255")
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise VictimError(
            f"{what}: images have shape {images.shape}; it must be (n, height, width, channels) "
            "with n >= 1 and 1 or 3 channels"
        )


def check_labels(labels: NDArray[Any], images: int, num_classes: int, what: str) -> None:
    """Refuse anything but one integer label an image, each in [0, num_classes).

    Raises:
        VictimError: ``what`` has another dtype, number or range of labels.
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise VictimError(f"{what}: labels are {labels.dtype}; they must be integers")
    if labels.shape != (images,):
        raise VictimError(
            f"{what}: labels have shape {labels.shape}; it must be ({images},), one for each image"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        raise VictimError(
            f"{what}: label {labels[wrong[0]]} of image {wrong[0]} is out of range "
            f"({wrong.size} such label(s)); with {num_classes} classes labels are 0 to {num_classes - 1}"
        )
