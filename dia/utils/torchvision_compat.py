"""Import torchvision whichever torch it was built for.

The torchvision of the package registry is built for the CUDA torch. Beside a CPU-only torch its compiled
operators do not load, and its import stops with ``operator torchvision::nms does not exist`` while it
registers shape functions for them. Declaring the missing operator schemas is enough: datasets, transforms and
models are plain Python (``torchvision.ops.nms`` and ``torchvision.io.read_image`` stay unusable). The schemas
are declared only after that very error, because declaring them first would collide with a CUDA build that has
them.

Call :func:`import_torchvision` before any ``import torchvision`` and before ``import torchmetrics``, which
imports torchvision by itself. Worker processes that are spawned, not forked, must call it too.
"""

import importlib
from types import ModuleType

MISSING_OPERATOR = "operator torchvision::nms does not exist"
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# torch.library forgets a declaration when its Library object goes; this keeps it for the life of the process.
_declared: list[object] = []


def import_torchvision() -> ModuleType:
    """Return the module ``torchvision``, declaring its missing operator schemas when that is what it lacks.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: Its import fails for any other reason; the error is torchvision's own.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if str(error) != MISSING_OPERATOR or _declared:
            raise
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS:
        library.define(schema)
    _declared.append(library)
    return importlib.import_module("torchvision")
