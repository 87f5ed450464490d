"""Source ``torchvision-mnist``: MNIST from torchvision's files (``MNIST/raw/*-ubyte`` under the root)."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dia.datasets.source import ImageSource
from dia.datasets.specs import TorchvisionMnist
from dia.datasets.torchvision_download import ensure_downloaded
from dia.errors import VictimError
from dia.utils.paths import expanded
from dia.utils.torchvision_compat import import_torchvision

if TYPE_CHECKING:
    import torch

# torchvision keeps no checksum of the unpacked files, so the number of images is checked here.
IMAGES = {"train": 60_000, "test": 10_000}
PREFIX = {"train": "train", "test": "t10k"}


def load(spec: TorchvisionMnist) -> ImageSource:
    """Read a split of MNIST, downloading it first where the config says so.

    Raises:
        VictimError: The files are missing, cannot be downloaded, or are damaged.
    """
    import_torchvision()
    from torchvision.datasets import MNIST
    from torchvision.datasets.mnist import read_image_file, read_label_file

    root = expanded(spec.root)
    ensure_downloaded(
        root,
        [f"MNIST/raw/{Path(name).stem}" for name, _ in MNIST.resources],
        source=spec.source,
        download=spec.download,
        fetch=lambda folder: MNIST(folder, train=False, download=True),
    )
    # The files are read one by one, not by torchvision's class: where there is an old MNIST/processed folder
    # it would take that instead, without saying so.
    count, prefix = IMAGES[spec.split], PREFIX[spec.split]
    images = _read(root / f"MNIST/raw/{prefix}-images-idx3-ubyte", read_image_file, (count, 28, 28))
    labels = _read(root / f"MNIST/raw/{prefix}-labels-idx1-ubyte", read_label_file, (count,))

    def read(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        return images[index][..., np.newaxis]

    return ImageSource(
        labels=labels,
        read=read,
        num_classes=10,
        detail=f"MNIST, {spec.split} split, torchvision's files",
        class_names=tuple(str(digit) for digit in range(10)),
    )


def _read(path: Path, reader: Callable[[str], "torch.Tensor"], shape: tuple[int, ...]) -> NDArray[Any]:
    """Read one file in MNIST's own format and see that it holds an array of ``shape``.

    Raises:
        VictimError: The file is truncated, damaged, or of another dataset.
    """
    advice = "delete it and get it again (download: true does that)"
    try:
        array = reader(str(path)).numpy()
    # What torchvision's reader raises on a damaged file, from its asserts to torch's refusal of a shape
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError, LookupError) as error:
        raise VictimError(
            f"source torchvision-mnist: {path} is truncated or damaged "
            f"({type(error).__name__}: {error}); {advice}"
        ) from error
    if array.shape != shape:
        raise VictimError(
            f"source torchvision-mnist: {path} holds an array {array.shape} where MNIST has {shape}; {advice}"
        )
    return array
