"""Paths as files of the user name them: ``~`` is the home directory, and nothing else is replaced."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from dia.errors import ConfigError

_VARIABLE = re.compile(r"\$[A-Za-z_]\w*|\$\{[^}]*\}|%[A-Za-z_]\w*%")


TENSOR_SUFFIXES = (".safetensors", ".npz", ".pt", ".pth")
"""Kinds of files that hold tensors."""


def _check(value: str) -> str:
    if found := _VARIABLE.search(value):
        raise ValueError(
            f"{found[0]} is not replaced: environment variables mean nothing here; write the path out, or with ~ for "
            "your home directory"
        )
    if "\0" in value:
        raise ValueError("a path has no NUL character")
    return value


PathText = Annotated[str, Field(min_length=1), AfterValidator(_check)]
"""A path in a config or a table; see :func:`expanded`."""


def expanded(text: str | Path) -> Path:
    """The path, with ``~`` or ``~user`` replaced by the home directory.

    Raises:
        ConfigError: There is no such user or home directory.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{text}: {error}") from None
