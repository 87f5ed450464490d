"""A fingerprint of Python files that changes with their code and with nothing else."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def fingerprint(files: Iterable[Path], folder: Path) -> str:
    """SHA-256 over files, by their paths within ``folder``.

    Syntax trees are hashed, without docstrings: neither comments nor layout matter, code does. A file that is no
    Python is hashed as it is.
    """
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        source = path.read_bytes()
        try:
            tree = ast.parse(source, filename=str(path))
        except (SyntaxError, ValueError):
            total.update(source)
            continue
        for token in _tokens(tree):
            total.update(f"{token}\n".encode())
    return total.hexdigest()


def _tokens(node: Any) -> Iterator[str]:
    """A syntax tree as text; empty fields are left out, as their number varies between versions of Python."""
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(value, list):
                value = [entry for entry in value if not _is_bare_text(entry)]
            if value is not None and value != []:
                yield f".{name}"
                yield from _tokens(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for entry in node:
            yield from _tokens(entry)
        yield "]"
    else:
        yield f"{type(node).__name__} {node!r}"


def _is_bare_text(node: ast.AST) -> bool:
    """Whether a statement is a string alone: a docstring of a module, class, function or attribute."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
