"""Source ``torchvision-cifar10``: CIFAR-10 from torchvision's files (``cifar-10-batches-py`` under the root).

The batches are pickles. torchvision unpickles a batch only after its MD5 equals the published one; the same
check is made here before, to name the damaged file.
"""

import numpy as np
from numpy.typing import NDArray

from dia.datasets.source import ImageSource
from dia.datasets.specs import TorchvisionCifar10
from dia.datasets.torchvision_download import ensure_downloaded
from dia.errors import VictimError
from dia.utils.paths import expanded
from dia.utils.torchvision_compat import import_torchvision


def load(spec: TorchvisionCifar10) -> ImageSource:
    """Read a split of CIFAR-10, downloading it first where the config says so.

    Raises:
        VictimError: The files are missing, cannot be downloaded, or are damaged.
    """
    import_torchvision()
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    root = expanded(spec.root)
    batches = [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]]
    checksums = {f"{CIFAR10.base_folder}/{name}": md5 for name, md5 in batches}
    ensure_downloaded(
        root,
        list(checksums),
        source=spec.source,
        download=spec.download,
        fetch=lambda folder: CIFAR10(folder, train=False, download=True),
    )
    damaged = [name for name, md5 in checksums.items() if not check_integrity(root / name, md5)]
    if damaged:
        raise VictimError(
            f"source {spec.source}: under root {root} {', '.join(damaged)} is truncated or not CIFAR-10's "
            "(its MD5 differs); delete it and get it again (download: true does that)"
        )
    dataset = CIFAR10(root, train=spec.split == "train")
    images: NDArray[np.uint8] = dataset.data

    def read(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        return images[index]

    return ImageSource(
        labels=np.array(dataset.targets),
        read=read,
        num_classes=10,
        detail=f"CIFAR-10, {spec.split} split, torchvision's files",
        class_names=tuple(dataset.classes),
    )
