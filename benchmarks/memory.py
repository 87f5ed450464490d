"""Peak memory of one contestant in one configuration, measured in a process of its own.

    python benchmarks/memory.py engine mlp cifar10 128 cpu [VICTIMS_PER_PASS]

On a CPU: the growth of the process's resident memory, from before the victims are prepared to the highest
mark while they are prepared and attacked (``VmHWM`` of /proc/self/status, set back by /proc/self/clear_refs
before). Everything counts: weights, received gradients, masks, optimiser state, and what the allocator
keeps. A small attack runs first, so that the libraries that torch loads when they are first needed do not
count; a process of its own, so that no memory that an earlier configuration left to the allocator is used
again unseen. On CUDA: the allocator's own peak.
"""

import ctypes
import subprocess
import sys
from pathlib import Path

import torch

ITERATIONS = 2


def measured(side: str, model: str, dataset: str, victims: int, device: str, per_pass: int | None) -> float:
    """Peak MiB, from a fresh process; NaN where this system has no /proc/self/clear_refs."""
    arguments = [side, model, dataset, str(victims), device] + ([str(per_pass)] if per_pass else [])
    command = [sys.executable, str(Path(__file__)), *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _status(key: str) -> float:
    """A field of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def _peak(
    side: str, model: str, dataset: str, victims: int, device: torch.device, per_pass: int | None
) -> float:
    from comparison import Contest

    def run(*configuration: object) -> None:
        contest = Contest.of(*configuration, device, per_pass)  # type: ignore[arg-type]
        if side == "engine":
            contest.engine(ITERATIONS)
        else:
            contest.oracle(ITERATIONS)

    run("mlp", "mnist", 1)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
        run(model, dataset, victims)
        return torch.cuda.max_memory_allocated() / 2**20 - before
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("nan")
    before = _status("VmRSS")
    run(model, dataset, victims)
    return _status("VmHWM") - before


if __name__ == "__main__":
    side, model, dataset, victims, device, *rest = sys.argv[1:]
    torch.set_num_threads(1)
    print(_peak(side, model, dataset, int(victims), torch.device(device), int(rest[0]) if rest else None))
