"""The pages and tables that are made from the code: in step with it, and complete."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from dia.config.config import Config
from dia.reporting.tables.spec import TableSpec
from dia.results.columns import schema
from dia.settings.scenario import Settings

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """docs/site/generate.py."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "site" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_generated_page_is_what_make_schema_writes(generator: ModuleType) -> None:
    for path, text in generator.pages().items():
        assert path.read_text() == text, f"{path.name}: run `make schema`"


def test_every_key_is_there_with_its_range_and_default() -> None:
    text = (ROOT / "docs" / "config.md").read_text()
    for key in (*Settings.model_fields, *Config.model_fields):
        assert f"| `{key}` |" in text
    assert "| `victims` | whole number ≥ 1 | `128` |" in text
    assert "| `name` | text | **required** |" in text
    assert "## Dataset of source `bundled-mnist`" in text


def test_every_setting_stands_in_the_readme_once(generator: ModuleType) -> None:
    block = generator._settings()
    assert [block.count(f"`{name}`") for name in Settings.model_fields] == [1] * len(Settings.model_fields)


def test_every_column_and_every_key_of_a_table_is_explained() -> None:
    columns, tables = ((ROOT / "docs" / name).read_text() for name in ("columns.md", "tables.md"))
    for name in schema().names:
        assert columns.count(f"| `{name}` |") == 1
    for key in TableSpec.model_fields:
        assert f"| `{key}` |" in tables


def test_a_block_that_nothing_fills_is_an_error(generator: ModuleType) -> None:
    with pytest.raises(KeyError, match="nonsense"):
        generator.fill("<!-- nonsense: made by `make schema` -->\n<!-- end -->")
