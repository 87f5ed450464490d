"""Finding a torchvision dataset under a root, or downloading it, whole or not at all."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dia.errors import VictimError

# Seconds without a byte before a download is given up: urllib alone would wait for ever.
PATIENCE = 60.0


def ensure_downloaded(
    root: Path, files: Sequence[str], *, source: str, download: bool, fetch: Callable[[Path], object]
) -> None:
    """Ensure that all ``files`` are under ``root``, downloading them where the config allows it.

    The download goes to a temporary folder inside ``root`` and is moved when it is complete, so that an
    interrupted one never looks like a dataset. Files that are there already are never replaced.

    Args:
        root: The folder of the config.
        files: Paths relative to ``root`` that the dataset consists of.
        source: Key of the source, for messages.
        download: Whether the config allows to download.
        fetch: Downloads the dataset into the folder it is given, laid out as under ``root``.

    Raises:
        VictimError: Files are missing and may not be, or cannot be, downloaded.
    """
    missing = [name for name in files if not (root / name).is_file()]
    if not missing:
        return
    if not download:
        raise VictimError(
            f"source {source}: root {root} does not hold the dataset ({missing[0]} is missing). "
            "Set root to a folder that has it, or set download: true to download it there"
        )
    try:
        with _staging(root) as staging:
            fetch(staging)
            for name in missing:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staging / name, root / name)
    # OSError includes URLError and the time-out; RuntimeError is torchvision's own for a bad checksum.
    except (OSError, RuntimeError, EOFError) as error:
        with suppress(OSError):  # only a folder left empty: another job may be downloading into the same root
            root.rmdir()
        reason = " ".join(str(error).split()) or type(error).__name__
        raise VictimError(
            f"source {source}: download: true, but the download into root {root} failed ({reason}). "
            "Nothing was kept. Try again with a network, or copy the dataset there and set download: false"
        ) from error


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A temporary folder inside ``root``, under a network time-out; removed in the end."""
    root.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as staging:
            yield Path(staging)
    finally:
        socket.setdefaulttimeout(timeout)
