"""Objects by the text ``module:name``, imported only when they are asked for: registries stay light."""

import importlib
from typing import Any


def load_object(entry: str) -> Any:
    """Import the object ``NAME`` of ``entry = "package.module:NAME"``.

    Raises:
        ImportError: The module cannot be imported.
        AttributeError: The module has no such object.
    """
    module, _, name = entry.partition(":")
    return getattr(importlib.import_module(module), name)
