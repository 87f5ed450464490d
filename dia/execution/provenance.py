"""The origin of a row: versions, machine, git commit and code fingerprint."""

import os
import platform
import resource
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import dia
from dia.execution.code_version import PACKAGE, code_fingerprint


def provenance(*, torch: ModuleType, device: str, threads: int) -> dict[str, Any]:
    """The provenance columns known at the start of a cell (not those of chunks, compilation and memory).

    Args:
        torch: The torch module; handed in so that this module is light to import.
        device: The device in use, such as ``cpu`` or ``cuda:0``.
        threads: Intra-op threads in use.
    """
    kind = device.split(":")[0]
    return {
        "dia_version": dia.__version__,
        "torch_version": str(torch.__version__),
        "python_version": platform.python_version(),
        "device": kind,
        "device_name": torch.cuda.get_device_name(device) if kind == "cuda" else processor_name(),
        "threads": threads,
        "host": platform.node(),
        "git_commit": git_commit(),
        "code_fingerprint": code_fingerprint(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def peak_memory_mb(torch: ModuleType, device: str) -> float:
    """Peak memory in MiB: what torch allocated on a CUDA device, else the resident size of this process."""
    if device.startswith("cuda"):
        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if platform.system() == "Darwin" else peak / 2**10  # bytes there, KiB elsewhere


def processor_name() -> str:
    """The processor's model name, or its architecture where the system does not tell."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "unknown"


@cache
def git_commit(package: Path = PACKAGE) -> str:
    """The commit of the checkout that holds the package, ``-dirty`` where the package differs from it.

    ``unknown`` where the package is installed elsewhere, git is missing, or the repository is another's.
    """
    # Variables such as GIT_DIR (set inside hooks) would name another repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    try:
        # An installed copy may lie inside the repository of something else, which does not track it.
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
