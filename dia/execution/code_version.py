"""The version of the code behind a cell's numbers: its fingerprint, and that a process runs one version only."""

import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import dia
from dia.errors import CodeChangedError
from dia.utils.source_fingerprint import fingerprint

PACKAGE = Path(dia.__file__).parent

NUMERIC = (
    "attacks",
    "datasets",
    "defences",
    "evaluation",
    "federated",
    "gradients",
    "inversion",
    "models",
    "ops",
    "execution/checkpoint.py",
    "execution/run_cell.py",
    "execution/torch_setup.py",
    "utils/randomness.py",
    "utils/tensors.py",
    "utils/torchvision_compat.py",
)
"""The packages and modules that compute numbers, relative to the package; no other code counts."""


@cache
def code_fingerprint(package: Path = PACKAGE) -> str:
    """SHA-256 over the modules of ``NUMERIC``, as they were when this process first asked.

    See :func:`dia.utils.source_fingerprint.fingerprint`: comments, layout and messages do not matter.
    """
    return _fingerprint_on_disk(package)


def import_numeric_code() -> None:
    """Import every module of ``NUMERIC``: no later edit of a file can reach this process.

    Call :func:`code_fingerprint` before the first of them is imported, and this before anything is computed.

    Raises:
        CodeChangedError: The code is no longer what ``code_fingerprint`` saw, so that modules of two versions
            may have been imported.
    """
    started = code_fingerprint()
    for path in numeric_files(PACKAGE):
        name = ".".join(("dia", *path.relative_to(PACKAGE).with_suffix("").parts))
        importlib.import_module(name.removesuffix(".__init__"))
    if _fingerprint_on_disk(PACKAGE) != started:
        raise CodeChangedError(
            f"the code in {PACKAGE} was edited while this process imported it, so it may have parts of two versions; "
            "nothing was computed: run it again"
        )


def numeric_files(package: Path) -> Iterator[Path]:
    """The Python files of ``NUMERIC`` in the copy of this package at ``package``, in a fixed order."""
    for entry in NUMERIC:
        path = package / entry
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _fingerprint_on_disk(package: Path) -> str:
    return fingerprint(numeric_files(package), package)
