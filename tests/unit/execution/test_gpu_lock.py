"""Jobs of a workstation share out its GPUs: one each, whatever becomes of a job."""

import subprocess
import sys
from pathlib import Path

import pytest

from dia.execution import gpu_lock
from dia.execution.gpu_lock import acquire_gpu, visible_gpus

HOLDER = (
    "import sys, time; from pathlib import Path; from dia.execution.gpu_lock import acquire_gpu;"
    "held = acquire_gpu(sys.argv[2:], folder=Path(sys.argv[1])); print(held[0], flush=True); time.sleep(60)"
)


def holder(folder: Path, gpus: list[str]) -> "subprocess.Popen[str]":
    """A process that holds a GPU; its name is on the first line of its output."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), *gpus], stdout=subprocess.PIPE, text=True
    )


def test_each_job_gets_a_gpu_of_its_own(tmp_path: Path) -> None:
    first, one = acquire_gpu(["0", "1"], folder=tmp_path)
    second, two = acquire_gpu(["0", "1"], folder=tmp_path)
    assert {first, second} == {"0", "1"}
    one.close()
    third, three = acquire_gpu(["0", "1"], folder=tmp_path)
    assert third == first
    two.close()
    three.close()


def test_a_killed_job_gives_its_gpu_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = holder(tmp_path, ["0"])
    assert process.stdout is not None and process.stdout.readline().strip() == "0"
    monkeypatch.setattr(gpu_lock.time, "sleep", lambda seconds: process.kill())
    said = list[str]()
    gpu, lock = acquire_gpu(["0"], said.append, folder=tmp_path)
    assert gpu == "0"
    assert said == ["all GPUs (0) are held by other jobs of this machine: waiting for one"]
    lock.close()
    process.wait()


def test_the_gpus_are_those_that_the_environment_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-8932f937")
    assert visible_gpus() == ["2", "GPU-8932f937"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
