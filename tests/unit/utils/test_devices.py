"""Devices, their errors and their precision, on machines without a GPU."""

import pytest
import torch

from dia.errors import AttackError
from dia.utils import devices
from dia.utils.devices import full_precision_products, is_out_of_memory, select_device


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


def test_hidden_gpus_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(AttackError, match=r"sees no CUDA device here \(CUDA_VISIBLE_DEVICES is '-1'\)"):
        select_device("cuda")


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
