"""The reference of the config: in sync, and complete."""

from pathlib import Path

import pytest

from dia.cli import main
from dia.config.config import Config
from dia.settings.scenario import Settings

DOC = Path(__file__).parents[3] / "docs" / "config.md"


def test_the_reference_is_what_make_schema_writes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--markdown"]) == 0
    assert capsys.readouterr().out == DOC.read_text(), "run `make schema`"


def test_every_key_is_there_with_its_range_and_default() -> None:
    text = DOC.read_text()
    for key in (*Settings.model_fields, *Config.model_fields):
        assert f"| `{key}` |" in text
    assert "| `victims` | whole number ≥ 1 | `128` |" in text
    assert "| `name` | text | **required** |" in text
    assert "## Dataset of source `bundled-mnist`" in text
