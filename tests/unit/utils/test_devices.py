"""Devices, their errors and their precision, on machines without a GPU."""

from pathlib import Path

import pytest
import torch

from dia.errors import AttackError
from dia.utils import devices
from dia.utils.devices import full_precision_products, is_out_of_memory, select_device


def without_gpus(monkeypatch: pytest.MonkeyPatch, built_for: str | None) -> None:
    """A torch for a version of CUDA, or for the CPU alone, that sees no accelerator and no variable about one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(devices.torch.accelerator, "current_accelerator", lambda check_available: None)
    for name in devices.VISIBILITY:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate`"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("HIP out of memory. Tried to allocate"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (AttackError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize("name", ["mps", "xpu", "meta", "xpu:1"])
def test_other_devices_are_refused_never_replaced(name: str) -> None:
    with pytest.raises(AttackError, match=f"device '{name}' is not supported; use cpu, cuda"):
        select_device(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(AttackError, match=f"there is no device '{name}'; use cpu, cuda"):
        select_device(name)


@pytest.mark.parametrize("variable", ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"])
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_hidden_gpus_are_named(name: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without_gpus(monkeypatch, built_for="13.0")
    monkeypatch.setenv(variable, "-1")
    with pytest.raises(AttackError, match=rf"'{name}' .* sees no CUDA device here \({variable} is '-1'\)"):
        select_device(name)


def test_a_build_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without_gpus(monkeypatch, built_for=None)
    with pytest.raises(AttackError, match=r"torch .* is built without CUDA; install a build for your GPU"):
        select_device("cuda")


@pytest.mark.parametrize(("name", "there"), [("cuda:1", True), ("cuda:2", False), ("cuda:17", False)])
def test_numbers_beyond_the_cards_are_refused(
    name: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    if there:
        assert select_device(name) == torch.device(name)
    else:
        with pytest.raises(AttackError, match=f"'{name}' was asked for, but there are 2, numbered from 0"):
            select_device(name)


@pytest.mark.parametrize(
    ("files", "slurm", "warned"),
    [
        ([], None, False),
        (["nvidia0"], None, True),
        (["kfd"], None, True),
        (["nvidiactl"], None, False),
        ([], "0", True),
    ],
)
def test_auto_says_when_a_gpu_of_the_machine_is_not_used(
    files: list[str],
    slurm: str | None,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """As on a GPU node with a torch built for the CPU, or one whose driver is too old."""
    without_gpus(monkeypatch, built_for=None)
    monkeypatch.delenv("SLURM_JOB_GPUS", raising=False)
    if slurm:
        monkeypatch.setenv("SLURM_JOB_GPUS", slurm)
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr(devices, "Path", lambda folder: tmp_path)
    assert select_device("auto") == torch.device("cpu")
    assert ("on the CPU although this machine has a GPU: torch" in caplog.text) == warned


def test_auto_says_when_it_passes_over_an_accelerator(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        devices.torch.accelerator, "current_accelerator", lambda check_available: torch.device("mps")
    )
    assert select_device("auto") == torch.device("cpu")
    assert "on the CPU: the device 'mps' that torch sees here is not supported" in caplog.text


def test_full_precision_ends_with_its_block() -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = True
        with pytest.raises(ValueError), full_precision_products():
            assert not (matmul.allow_tf32 or cudnn.allow_tf32)
            raise ValueError
        assert matmul.allow_tf32 and cudnn.allow_tf32
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
