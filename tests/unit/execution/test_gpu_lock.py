"""Jobs of a workstation share out its GPUs: one each, whatever becomes of a job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dia.cli.attack import _hold_gpu
from dia.execution import gpu_lock
from dia.execution.gpu_lock import acquire_gpu, gpus_of_listing, visible_gpus

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


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("2,GPU-8932f937", ["2", "GPU-8932f937"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["0"]),
        ("0, 1", ["0", "1"]),
        ("1,1", []),
        ("MIG-4f2a,MIG-GPU-77/1/0", ["MIG-4f2a", "MIG-GPU-77/1/0"]),
        ("GPU-1,none,GPU-2", ["GPU-1"]),
    ],
)
def test_the_gpus_are_those_that_the_environment_leaves(
    named: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CUDA reads CUDA_VISIBLE_DEVICES; without nvidia-smi nobody knows which cards there are."""
    monkeypatch.setattr(gpu_lock, "_output", lambda command: "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == expected


LISTING = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111)
  MIG 3g.20gb     Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
"""


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("0,1", ["0", "1"]),
        ("1,2,0", ["1"]),
        ("7", []),
        ("GPU-aa,GPU-bbbb", ["GPU-aa", "GPU-bbbb"]),
        ("GPU-bbbb,GPU-cccc,GPU-aaaa", ["GPU-bbbb"]),
        ("MIG-2222", ["MIG-2222"]),
        ("MIG-3333,MIG-2222", []),
        ("MIG-GPU-aaaa/1/0,MIG-GPU-dddd/1/0", ["MIG-GPU-aaaa/1/0"]),
    ],
)
def test_what_lies_beyond_the_cards_ends_the_list(
    named: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job bound to such a card would see none, and `auto` would take the CPU."""
    monkeypatch.setattr(gpu_lock, "_output", lambda command: LISTING)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == expected


def test_amd_gpus_have_a_variable_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nvidia-smi, should it be there as well, knows nothing of them."""
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(gpu_lock, "_output", lambda command: LISTING if command[0] == "nvidia-smi" else "4")
    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1", "2", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")  # read by ROCm, too
    assert visible_gpus() == ["2", "5"]
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")  # which wins
    assert visible_gpus() == ["1"]


def test_installed_gpus_and_their_parts_are_named_by_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpus_of_listing(LISTING) == ["MIG-1111", "MIG-2222", "GPU-bbbb"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(gpu_lock, "_output", lambda command: LISTING)
    assert visible_gpus() == ["MIG-1111", "MIG-2222", "GPU-bbbb"]


def test_gpus_are_counted_in_a_child_where_nvidia_smi_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting here could initialise CUDA, and with it fix the devices that this process sees."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", None)
    monkeypatch.setattr(gpu_lock, "_output", lambda command: "" if command[0] == "nvidia-smi" else "2\n")
    assert visible_gpus() == ["0", "1"]


def test_a_command_that_fails_prints_nothing(tmp_path: Path) -> None:
    assert gpu_lock._output([str(tmp_path / "nvidia-smi"), "-L"]) == ""
    assert gpu_lock._output([sys.executable, "-c", "print(1); raise SystemExit(9)"]) == ""


@pytest.mark.parametrize(
    ("named", "job", "bound"), [("0,1", "7", "0"), ("3", "7", "3"), ("3", None, "3"), ("-1", None, None)]
)
def test_slurm_jobs_with_several_gpus_share_them_out(
    named: str, job: str | None, bound: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``salloc --gres=gpu:2`` and a workstation's profile: each cell on its own GPU."""
    monkeypatch.setattr(gpu_lock, "_output", lambda command: "")
    monkeypatch.setattr(gpu_lock.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    lock = _hold_gpu("auto")
    assert (lock is not None) == (bound is not None)
    if lock is not None:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == bound
        assert ("slurm-7" in lock.name) == (job is not None)  # GPU 0 of another job is another GPU
        lock.close()
    assert _hold_gpu("cpu") is None
