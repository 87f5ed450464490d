"""Files that are whole or absent, also when the disk is full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import result_rows

from dia.errors import DiaError, StorageError
from dia.utils.files import atomic_path


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError), atomic_path(path) as temporary:
        temporary.write_text("ne")
        raise ValueError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with (
        pytest.raises(
            StorageError,
            match=r"a\.txt: No space left on device; free some space and run it again",
        ),
        atomic_path(path),
        open("/dev/full", "w") as full,
    ):
        full.write("x" * 10)
    assert issubclass(StorageError, DiaError) and issubclass(StorageError, OSError)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


# A limit on the size of files fails a write half way, as a full disk does, and needs no disk.
WRITER = """
import resource, signal, sys
from pathlib import Path
from helpers import result_rows
from dia.results.collected import collect
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, what = Path(sys.argv[1]), sys.argv[2]
cells = [result_rows.cell(seed=seed) for seed in range(2)]
jobs = [result_rows.made(folder, cell) for cell in cells]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
if what == "cell":
    result_rows.write(folder, cells[0], ssim=(0.1, 0.2))
else:
    collect(jobs, folder / "results.parquet")
"""


@pytest.mark.parametrize(("what", "name"), [("cell", "seed0.parquet"), ("collected", "results.parquet")])
def test_writing_half_a_parquet_file_leaves_none(tmp_path: Path, what: str, name: str) -> None:

    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path), what],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path])},
        text=True,
        capture_output=True,
    )
    assert "dia.errors.StorageError: cannot write" in done.stderr, done.stderr
    assert f"{name}: File too large; free some space and run it again" in done.stderr
    assert not (tmp_path / "results.parquet").exists()
    files = sorted(path.name for path in tmp_path.rglob("*.parquet"))
    assert files == ["seed0.parquet", "seed1.parquet"]
    again = result_rows.write(tmp_path / "again", result_rows.cell(seed=0))
    kept = tmp_path / result_rows.cell(seed=0).path
    assert kept.read_bytes() == again.read_bytes()  # the finished cell is as it was
