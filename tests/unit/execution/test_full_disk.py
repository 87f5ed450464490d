"""A disk that fills while an attack runs loses nothing that was computed: a real one of 2 MiB."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import slow_model
from helpers.polling import wait_for

from dia.config.config import Config
from dia.config.jobs import attack_job
from dia.datasets.victim_selection import make_victims
from dia.results.cell_file import read_cell

HOURS = 3600.0
SOURCE = """
import time
from pathlib import Path
from torch import nn

class Slow(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))
    def forward(self, x):
        Path("passes").open("a").write(".")
        time.sleep(float(Path("pace").read_text()))
        return super().forward(x)
"""


@dataclass
class Run:
    """A cell in a folder of its own, with its outputs on a small disk."""

    folder: Path
    disk: Path
    environment: dict[str, str]

    def __post_init__(self) -> None:
        mapping = {
            "name": "full",
            "datasets": {"digits": {"source": "bundled-mnist", "images": 1}},
            "models": {"slow": {"factory": "module:slow.Slow"}},
            "scenarios": {"default": {"victims": 1, "max_iterations": 6, "precision": "float64"}},
            "grids": [
                {
                    "datasets": ["digits"],
                    "models": ["slow"],
                    "dropout_rates": ["0"],
                    "attacks": ["ig"],
                    "seeds": [0],
                }
            ],
        }
        (self.folder / "slow.py").write_text(SOURCE)
        before = Path.cwd()
        os.chdir(self.folder)
        config = Config.load(mapping)
        self.job = attack_job(config, config.cells[0])
        os.chdir(before)
        make_victims(config.datasets["digits"], "digits").save(self.folder / "victims.npz")
        self.out, self.checkpoint = self.disk / "cell.parquet", self.disk / "state.npz"

    def start(self, pace: float) -> subprocess.Popen[str]:
        slow_model.set_pace(self.folder, pace)
        (self.folder / "passes").unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "dia",
            "attack",
            "--job",
            self.job.canonical_json(),
            "--victims",
            "victims.npz",
        ]
        command += ["--out", str(self.out), "--checkpoint", str(self.checkpoint), "--device", "cpu"]
        return subprocess.Popen(
            command, cwd=self.folder, env=os.environ | self.environment, text=True, stderr=subprocess.PIPE
        )

    def passes(self) -> int:
        path = self.folder / "passes"
        return path.stat().st_size if path.exists() else 0

    def wait_for_a_pass(self) -> None:
        """By then the places were tried, and the attack has seconds of passes before it."""
        wait_for(lambda: self.passes() > 0, "a pass")

    def fill(self) -> None:
        with (self.disk / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def free(self) -> None:
        (self.disk / "filler").unlink()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here (needs root)")
    try:
        yield Run(tmp_path, disk, {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(disk)})
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_finished_cell_without_room_is_kept_elsewhere_and_taken_from_there(run: Run) -> None:
    process = run.start(0.5)
    run.wait_for_a_pass()
    run.fill()
    slow_model.set_pace(run.folder, 0)
    _, said = process.communicate()
    (kept,) = (run.folder / "cache/dia/rescued").glob("*.parquet")
    assert process.returncode == 1
    assert f"the finished cell is in {kept}" in " ".join(said.split())
    row = read_cell(kept, run.job).to_pylist()[0]
    run.free()
    again = run.start(HOURS)
    assert "that an earlier run finished" in again.communicate()[1]
    assert (again.returncode, run.passes()) == (0, 0)
    assert read_cell(run.out, run.job).to_pylist()[0] == row
    assert not kept.exists()


def test_a_state_without_room_is_kept_elsewhere_and_continued(run: Run) -> None:
    process = run.start(0.5)
    run.wait_for_a_pass()
    run.fill()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    (kept,) = (run.folder / "cache/dia/rescued").glob("*.npz")
    assert f"goes on from there: {kept}" in " ".join(said.split())
    run.free()
    again = run.start(0)
    assert "going on from a checkpoint" in again.communicate()[1]
    assert again.returncode == 0 and run.out.exists()
    assert not kept.exists()


def test_a_finished_cell_without_room_anywhere_waits_for_it(run: Run) -> None:
    run.environment["XDG_CACHE_HOME"] = str(run.disk / "cache")
    process = run.start(0.5)
    run.wait_for_a_pass()
    run.fill()
    slow_model.set_pace(run.folder, 0)
    assert process.stderr is not None
    said = ""
    while "held in memory" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    assert "No space left on device" in said
    run.free()
    process.communicate()
    assert process.returncode == 0
    assert read_cell(run.out, run.job).num_rows == 1
