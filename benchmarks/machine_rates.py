"""How fast a device is at what predictions are made of: products, memory, launches."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from flop_bound import synchronise


def machine_rates(device: torch.device, *, small: bool) -> dict[str, float]:
    """Rates by name, with their unit; ``small`` sizes only show that this works."""
    size = 256 if small else 1024 if device.type == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    many, one = torch.zeros(2**16 if small else 2**26, device=device), torch.zeros(1, device=device)
    rates = {"products, float32 (TFLOP/s)": 2e-12 * size**3 / _seconds(lambda: a @ b, device)}
    with tf32(device):
        rates["products, TF32 (TFLOP/s)"] = 2e-12 * size**3 / _seconds(lambda: a @ b, device)
    rates["memory (GB/s)"] = 2e-9 * many.nbytes / _seconds(many.clone, device)
    rates["a launch (us)"] = 1e6 * _seconds(lambda: one.add_(1), device)
    return rates


@contextmanager
def tf32(device: torch.device) -> Iterator[None]:
    """Inside the block products may be rounded to TF32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = device.type == "cuda"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of one call, over as many as fill a fifth of a second."""
    work()
    calls = 1
    while True:
        synchronise(device)
        began = time.perf_counter()
        for _ in range(calls):
            work()
        synchronise(device)
        if (elapsed := time.perf_counter() - began) > 0.2 or calls > 10_000:
            return elapsed / calls
        calls *= 4
