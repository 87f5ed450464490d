"""Files that are written whole or not at all."""

import errno
import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dia.errors import StorageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Error numbers of a system without room: on the disk, in a quota, below a limit."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it there when the block ends well, remove it when it fails.

    The temporary name keeps the suffix of ``path`` (libraries choose a format by it). The content is on disk
    (fsync) before the name changes, so a crash leaves the old file or the new one, never a part.

    Args:
        path: Where the finished file is to be. Missing parent directories are made.

    Raises:
        StorageError: The disk (a quota, a limit) is full; ``path`` is untouched.
        OSError: The directory cannot be written; ``path`` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{platform.node()}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in FULL:
            raise _storage_error(path, error, "free some space and run it again") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(path: str | Path) -> None:
    """Try the place of a file that is to be written later, before work is put into its content.

    Raises:
        StorageError: The directory cannot be made or written, or the disk is full; the file itself is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{platform.node()}.{os.getpid()}.try{path.suffix}")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(bytes(_TRIED_BYTES))
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.errno == errno.EEXIST:  # what mkdir says where a parent is a file
            error.errno = errno.ENOTDIR
        raise _storage_error(
            path, error, "nothing was computed yet; make it writable or name another place"
        ) from error


_TRIED_BYTES = 2**16  # an empty file can be made on a disk that is full


def _storage_error(path: Path, error: OSError, remedy: str) -> StorageError:
    return StorageError(f"cannot write {path}: {os.strerror(error.errno or errno.EIO)}; {remedy}")
