"""The Python sessions in the documents print what they say."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
SESSIONS = sorted(path.name for path in DOCS.glob("*.md") if ">>> " in path.read_text())


@pytest.mark.parametrize("name", SESSIONS)
def test_sessions_print_what_the_document_says(name: str) -> None:
    found = doctest.testfile(str(DOCS / name), module_relative=False, encoding="utf-8")
    assert found.attempted and not found.failed


def test_documents_with_sessions_are_found() -> None:
    assert {"columns.md", "invert.md", "own-images.md", "tutorial.md"} <= set(SESSIONS)
