"""One GPU, one cell: jobs of a workstation share out its GPUs among themselves.

Each job holds a lock on the GPU that it uses, which the kernel releases however the job ends. A Slurm job sees
only the GPUs that Slurm gave it; where it has several (``salloc``), its cells share those out in the same way.
"""

import fcntl
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import IO

SECONDS_BETWEEN_LOOKS = 1.0
GPU_NAME = re.compile(r"\d+|(GPU|MIG)-.+")
"""A number, or the UUID of a GPU or of a part of one (MIG)."""


def visibility_variable() -> str:
    """The environment variable that decides which GPUs a process sees: AMD's (ROCm) has one of its own."""
    import torch

    return "HIP_VISIBLE_DEVICES" if torch.version.hip else "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that :func:`visibility_variable` gives them.

    CUDA is not initialised, so that the variable may still be set.
    """
    named = os.environ.get(visibility_variable(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if named is None:
        return _installed_gpus()
    # As CUDA reads it: the first entry that names no GPU (-1, NoDevFiles) ends the list; a repeated one empties it.
    names = list(takewhile(GPU_NAME.fullmatch, (name.strip() for name in named.split(","))))
    if len(set(names)) < len(names):
        return []
    listing = (
        _output(["nvidia-smi", "-L"]) if names and visibility_variable() == "CUDA_VISIBLE_DEVICES" else ""
    )
    return list(takewhile(lambda name: _is_listed(name, listing), names)) if listing else names


def _is_listed(name: str, listing: str) -> bool:
    """Tell whether the output of ``nvidia-smi -L`` has the GPU; UUIDs may be cut short, as CUDA allows."""
    if name.isdecimal():
        return int(name) < len(re.findall(r"^GPU \d+:", listing, re.MULTILINE))
    if name.startswith("MIG-GPU-"):  # MIG-GPU-<UUID>/<instance>/<instance>, as drivers before R470 have it
        name = name.removeprefix("MIG-").partition("/")[0]
    return f"UUID: {name}" in listing


def _installed_gpus() -> list[str]:
    """All GPUs of this machine; asked in child processes, as counting may initialise CUDA."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return []
    if torch.version.cuda and (listing := _output(["nvidia-smi", "-L"])):
        return gpus_of_listing(listing)
    count = _output([sys.executable, "-c", "import torch; print(torch.cuda.device_count())"])
    return [str(number) for number in range(int(count or 0))]


def _output(command: Sequence[str]) -> str:
    """The output of a command; nothing if it fails or is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def gpus_of_listing(listing: str) -> list[str]:
    """UUIDs in the output of ``nvidia-smi -L``; of a GPU that is divided (MIG), those of its parts."""
    found: list[str] = []
    for uuid in re.findall(r"UUID: ((?:GPU|MIG)-[^)]+)\)", listing):
        if uuid.startswith("MIG-") and found and found[-1].startswith("GPU-"):
            found.pop()  # the GPU whose first part this is
        found.append(uuid)
    return found


def _lock_name(gpu: str) -> str:
    """The name of a GPU's lock file; a number means another GPU in every Slurm job."""
    job = os.environ.get("SLURM_JOB_ID") if gpu.isdecimal() else None
    return f"dia-{os.getuid()}-{f'slurm-{job}-' if job else ''}gpu-{gpu.replace('/', '_')}.lock"


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
            lock = (folder / _lock_name(gpu)).open("a")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return gpu, lock
            except BlockingIOError:
                lock.close()
        if not waiting:
            announce(f"all GPUs ({', '.join(gpus)}) are held by other jobs of this machine: waiting for one")
            waiting = True
        time.sleep(SECONDS_BETWEEN_LOOKS)
