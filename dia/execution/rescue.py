"""Other places for what was computed, where its own is full: the cell's next run finds it there.

A home directory is tried first, which the nodes of a cluster usually share, then the machine's temporary directory.
"""

import errno
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dia.execution.signals import StopRequest

SECONDS_BETWEEN_TRIES = 5.0
SECONDS_BETWEEN_WORDS = 600.0


def rescue_paths(fingerprint: str, suffix: str) -> list[Path]:
    """The other places for the content of a file of this fingerprint: in folders that no other user can write."""
    return [folder / f"{fingerprint[:32]}{suffix}" for folder in _private_folders()]


def write_somewhere(path: Path, others: list[Path], write: Callable[[Path], None]) -> Path:
    """Write a file at ``path``, or else at the first other place that has room; the copies elsewhere go.

    Returns:
        Where it was written.

    Raises:
        OSError: Of ``path``: it cannot be written, nor can any other place.
    """
    try:
        write(path)
    except OSError as error:
        for other in others:
            try:
                write(other)
            except OSError:
                continue
            return other
        raise error
    for other in others:
        other.unlink(missing_ok=True)
    return path


def write_when_there_is_room(
    path: Path,
    others: list[Path],
    write: Callable[[Path], None],
    announce: Callable[[str], None],
    stop: StopRequest,
) -> Path:
    """Write a file as :func:`write_somewhere` does, and where no place has room, hold its content and try again.

    Raises:
        OSError: A signal to stop came before there was room, or the file is larger than this process may write; the
            content is lost.
    """
    said = float("-inf")
    while True:
        try:
            return write_somewhere(path, others, write)
        except OSError as error:
            if (
                stop.reason is not None or getattr(error.__cause__, "errno", None) == errno.EFBIG
            ):  # never any room
                raise
            if time.monotonic() - said >= SECONDS_BETWEEN_WORDS:
                said = time.monotonic()
                places = ", ".join(str(other.parent) for other in others) or "no other place"
                announce(
                    f"{error}. There is no room in {places} either: the finished cell is held in memory and written as "
                    "soon as there is; it is lost if this process ends before"
                )
        time.sleep(SECONDS_BETWEEN_TRIES)


def _private_folders() -> Iterator[Path]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for folder in (cache / "dia" / "rescued", Path(tempfile.gettempdir()) / f"dia-{os.getuid()}"):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.lstat()
        except (OSError, RuntimeError):
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            yield folder
