"""The benchmarks are run by hand: here they are only imported, so that a rename does not break them unseen."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_benchmarks_import() -> None:
    names = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
    assert {"throughput", "gpu"} <= set(names)
    done = subprocess.run(
        [sys.executable, "-c", f"import {', '.join(names)}"], cwd=BENCHMARKS, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
