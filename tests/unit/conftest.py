"""What several test files of this folder need."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.custom_models import SOURCE


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The module ``mine`` is importable inside a test."""
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    sys.modules.pop("mine", None)
