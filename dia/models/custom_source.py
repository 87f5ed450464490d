"""The files behind a user's own model, found by their paths: nothing is imported while a workflow is planned."""

import ast
from collections.abc import Iterator
from pathlib import Path

from dia.utils.source_fingerprint import fingerprint


def source_files(module: str, folder: Path) -> list[Path]:
    """The files of a module in ``folder``, and of all that they import from there, sorted.

    Empty for a module that is installed elsewhere. An import that only shows when it runs (``importlib``) is not seen.
    """
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        for path in _files(waiting.pop(), folder):
            if path not in found:
                found.add(path)
                waiting += _imports(path, folder)
    return sorted(found)


def source_fingerprint(module: str, folder: Path) -> str:
    """Of the code in these files (see :func:`dia.utils.source_fingerprint.fingerprint`); empty where there are none."""
    files = source_files(module, folder)
    return fingerprint(files, folder) if files else ""


def _files(module: str, folder: Path) -> Iterator[Path]:
    """The files that importing a dotted name runs, as far as they lie in ``folder``."""
    names = module.split(".")
    if names[0] == "dia":  # known by its own fingerprint, in every row
        return
    for depth in range(1, len(names) + 1):
        base = folder.joinpath(*names[:depth])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                yield path
                break


def _imports(path: Path, folder: Path) -> Iterator[str]:
    """The dotted names that a file imports; of ``from a import b`` both ``a`` and ``a.b``."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError):
        return  # importing it will say so
    package = path.relative_to(folder).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*around, *([node.module] if node.module else [])])
            yield from (".".join(filter(None, (origin, alias.name))) for alias in node.names)
