"""Docstrings of the package say what a thing is or does: they begin with a noun or a verb, not with a question word."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "dia"
QUESTIONS = ("What", "Where", "Whether", "How", "Which", "Who", "When", "Why", "As")


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_docstrings_begin_with_a_noun_or_a_verb(path: Path) -> None:
    questions = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node) or ""
            if text.partition(" ")[0] in QUESTIONS:
                questions.append(f"{getattr(node, 'name', path.name)}: {text.splitlines()[0]}")
    assert not questions
