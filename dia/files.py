"""Files that are either whole or absent."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it there when the block ends well, remove it when it fails.

    The temporary name keeps the suffix of ``path`` (libraries choose a format by it). The content is on disk
    (fsync) before the name changes, so a crash leaves the old file or the new one, never a part.

    Args:
        path: Where the finished file is to be. Missing parent directories are made.

    Raises:
        OSError: The directory cannot be written or the disk is full; ``path`` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{platform.node()}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
