"""A model for tests of interruptions: it waits before each pass for as long as the file ``pace`` says.

Copied into the working directory of a run (``module:slow_model.Slow``): attacks of any length, which need no processor,
and which a test speeds up when it has seen enough.
"""

import time
from pathlib import Path

from torch import Tensor

from dia.models.mlp import MLP


class Slow(MLP):
    """``mlp``, waiting."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits, after as many seconds as the file ``pace`` in the working directory says."""
        time.sleep(float(Path("pace").read_text()))
        return super().forward(x)


def set_pace(folder: Path, seconds: float) -> None:
    """What a pass takes from now on in the runs of a working directory."""
    path = folder / "pace"
    path.with_suffix(".new").write_text(str(seconds))
    path.with_suffix(".new").replace(path)
