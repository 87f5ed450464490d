"""A fingerprint of Python files that changes with their code and with nothing else."""

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def fingerprint(files: Iterable[Path], folder: Path) -> str:
    """SHA-256 over files, by their paths within ``folder``.

    Syntax trees are hashed, without docstrings: neither comments nor layout matter, code does. A file that is no
    Python is hashed as it is.
    """
    total = hashlib.sha256()
    for path in files:
        tokens = [path.relative_to(folder).as_posix()]
        source = path.read_bytes()
        try:
            _append_tokens(ast.parse(source, filename=str(path)), tokens)
        except (SyntaxError, ValueError):
            total.update(source)
        total.update("".join(f"{token}\n" for token in tokens).encode())
    return total.hexdigest()


def _append_tokens(node: Any, tokens: list[str]) -> None:
    """A syntax tree as text; empty fields are left out, as their number varies between versions of Python."""
    if isinstance(node, ast.AST):
        tokens.append(f"({type(node).__name__}")
        for name in node._fields:
            value = getattr(node, name, None)
            if name == "body" and isinstance(value, list):
                value = [entry for entry in value if not _is_bare_text(entry)]
            if value is not None and value != []:
                tokens.append(f".{name}")
                _append_tokens(value, tokens)
        tokens.append(")")
    elif isinstance(node, list):
        tokens.append("[")
        for entry in node:
            _append_tokens(entry, tokens)
        tokens.append("]")
    else:
        tokens.append(f"{type(node).__name__} {node!r}")


def _is_bare_text(node: ast.AST) -> bool:
    """Whether a statement is a string alone: a docstring of a module, class, function or attribute."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
