"""Decide whether an attack's loss and gradients are compiled, and say why where they are not."""

import os
from pathlib import Path
from typing import Literal

CompileSetting = Literal["auto"] | bool
"""``auto`` compiles where that pays."""


def default_cache() -> Path:
    """The user's own folder of compiled graphs: ``dia/compiled`` in ``XDG_CACHE_HOME``, else in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "dia", "compiled")


class Compilation:
    """The way in which one run of an attack computes its loss and gradients.

    Args:
        setting: What was asked for.
        cache: Folder of compiled graphs; None for :func:`default_cache`.

    Attributes:
        used_throughout: Whether every evaluation was compiled.
        fallback: Why not; empty where compilation was not asked for.
    """

    def __init__(self, setting: CompileSetting, cache: Path | None = None) -> None:
        self.setting, self.cache = setting, cache or default_cache()
        self.used_throughout = False
        self.fallback = "" if setting is False else "the attack has no iterations"

    def refuse(self, reason: str) -> None:
        """Compute without compiling from now on, for a reason."""
        self.used_throughout = False
        if self.setting is not False:
            self.fallback = reason
