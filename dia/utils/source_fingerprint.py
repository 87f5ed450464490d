"""A fingerprint of Python files that changes with what their code does, not with what it says."""

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def fingerprint(files: Iterable[Path], folder: Path) -> str:
    """SHA-256 over files, by their paths within ``folder``.

    Syntax trees are hashed without docstrings, the messages of ``raise`` statements and the descriptions of pydantic
    fields: neither these nor comments nor layout matter, code does. A file that is no Python is hashed as it is.
    """
    total = hashlib.sha256()
    for path in files:
        tokens = [path.relative_to(folder).as_posix()]
        source = path.read_bytes()
        try:
            _append_tokens(_WithoutWords().visit(ast.parse(source, filename=str(path))), tokens)
        except (SyntaxError, ValueError):
            total.update(source)
        total.update("".join(f"{token}\n" for token in tokens).encode())
    return total.hexdigest()


class _WithoutWords(ast.NodeTransformer):
    """Removes from a syntax tree what only people read."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """A string alone is the docstring of a module, class, function or attribute."""
        return None if _is_text(node.value) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """The message of an exception; its arguments of other kinds stay."""
        if isinstance(node.exc, ast.Call):
            node.exc.args = [ast.Constant("") if _is_text(value) else value for value in node.exc.args]
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """``Field(description=...)`` of pydantic."""
        if isinstance(node.func, ast.Name) and node.func.id == "Field":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        return self.generic_visit(node)


def _is_text(node: ast.AST) -> bool:
    """Tell whether an expression is a string literal, an f-string, or a sum with one."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _append_tokens(node: Any, tokens: list[str]) -> None:
    """A syntax tree as text; empty fields are left out, as their number varies between versions of Python."""
    if isinstance(node, ast.AST):
        tokens.append(f"({type(node).__name__}")
        for name in node._fields:
            value = getattr(node, name, None)
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
