"""One GPU, one cell: jobs of a workstation share out its GPUs among themselves.

Each job holds a lock on the GPU that it uses, which the kernel releases however the job ends. Under Slurm there is
nothing to do: a job sees only the GPUs that Slurm gave it.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

SECONDS_BETWEEN_LOOKS = 1.0


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES gives them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def acquire_gpu(
    gpus: Sequence[str],
    announce: Callable[[str], None] = lambda line: None,
    folder: Path | None = None,
) -> tuple[str, IO[str]]:
    """Wait for a GPU that no other job of this user holds, and hold it.

    Args:
        gpus: Names to choose from, at least one.
        announce: Told when there is none free at once.
        folder: Where the lock files are; None: the machine's folder for temporary files.

    Returns:
        The GPU's name, and the open lock file: the GPU is held until that is closed, or the process ends.
    """
    folder = folder or Path(tempfile.gettempdir())
    waiting = False
    while True:
        for gpu in gpus:
            lock = (folder / f"dia-{os.getuid()}-gpu-{gpu.replace('/', '_')}.lock").open("a")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return gpu, lock
            except BlockingIOError:
                lock.close()
        if not waiting:
            announce(f"all GPUs ({', '.join(gpus)}) are held by other jobs of this machine: waiting for one")
            waiting = True
        time.sleep(SECONDS_BETWEEN_LOOKS)
