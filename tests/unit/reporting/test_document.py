"""Documents whose tables are made from results: only what stands between two marks changes."""

from pathlib import Path

import pytest
from helpers import tables
from helpers.tables import DROPOUT

from dia.cli import main
from dia.config.config import Config
from dia.errors import ConfigError
from dia.reporting.document import fill
from dia.results.collected import collect
from dia.utils.canonical_json import canonical

ROOT = Path(__file__).parents[3]
END = "<!-- dia end -->"
DOCUMENT = f"""# A page

Prose | with a pipe.

<!-- dia table dropout attack=dia dropout_rate=0.5 -->
an old table
{END}

<!-- dia cells -->
{END}
<!-- dia versions -->
{END}

<!-- any other comment -->
"""


@pytest.fixture
def made(tmp_path: Path) -> tuple[Config, Path]:
    """A config with all but one of its eight cells in a collected file."""
    of = tables.config()
    return of, tables.results(tmp_path, of, leave_out=("default/mnist/mlp/p0.5/dia/seed1",))


def test_blocks_are_made_from_the_results_and_prose_stays(made: tuple[Config, Path]) -> None:
    filled = fill(DOCUMENT, *made, DROPOUT.parent, "page.md")
    before, table, _, cells, _, versions, _ = filled.split("<!-- dia ")
    assert before == DOCUMENT.split("<!-- dia ")[0]
    assert "an old table" not in table
    assert "| mnist | mlp | 0.5 | DIA | 0.700 [0.500, 0.900] |" in table  # IG and p = 0 are left out
    assert table.count("| DIA |") == 1
    assert "| 2/4 |" in table
    assert "default/mnist/mlp/p0.5/dia/seed1" in table  # the gap is named
    assert "| IG |" not in table
    assert "7 of 8 cells are done" in cells
    assert "`mlp` 7 of 8" in cells
    assert "* victims attacked: 14" in versions
    assert filled.endswith("<!-- any other comment -->\n")


def test_filling_again_changes_nothing(made: tuple[Config, Path]) -> None:
    once = fill(DOCUMENT, *made, DROPOUT.parent, "page.md")
    assert fill(once, *made, DROPOUT.parent, "page.md") == once


def test_a_grid_without_any_cell_shows_gaps(tmp_path: Path) -> None:
    collect([], tmp_path / "none.parquet")
    filled = fill(DOCUMENT, tables.config(), tmp_path / "none.parquet", DROPOUT.parent, "page.md")
    assert "0 of 8 cells are done" in filled
    assert "| 0/4 |" in filled


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("# No marks\n", "found 0 marks and 0 whole blocks"),
        ("<!-- dia cells -->\n", "found 1 marks and 0 whole blocks"),
        (f"<!-- dia cells -->\n<!-- dia versions -->\n{END}\n{END}\n", "found 4 marks and 1 whole blocks"),
        (f"<!-- dia cell -->\n{END}\n", "did you mean 'cells'"),
        (f"<!-- dia table -->\n{END}\n", "which table"),
        (f"<!-- dia table absent -->\n{END}\n", "absent.yaml"),
        (f"<!-- dia table dropout model -->\n{END}\n", r"model is not AXIS=VALUE"),
        (f"<!-- dia table dropout victims=2 -->\n{END}\n", r"with an axis of scenario, dataset"),
    ],
)
def test_a_faulty_mark_is_named(made: tuple[Config, Path], document: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        fill(document, *made, DROPOUT.parent, "page.md")
    assert "page.md" in str(caught.value)


def test_the_verb_writes_the_document(made: tuple[Config, Path], tmp_path: Path) -> None:
    of, results = made
    (tmp_path / "config.json").write_text(canonical(of.model_dump(mode="json", exclude_unset=True)))
    page = tmp_path / "page.md"
    page.write_text(DOCUMENT)
    options = ["--config", str(tmp_path / "config.json"), "--results", str(results)]
    assert main(["document", str(page), *options, "--tables", str(DROPOUT.parent)]) == 0
    assert page.read_text() == fill(DOCUMENT, of, results, DROPOUT.parent, "page.md")
    assert main(["document", str(tmp_path / "absent.md"), *options]) == 1


def test_the_page_of_the_reproduction_is_in_step_with_its_results() -> None:
    page = ROOT / "docs" / "reproduction.md"
    config = Config.from_file(ROOT / "config" / "reproduction.yaml")
    results = page.with_suffix("") / "results.parquet"
    text = page.read_text()
    assert results.stat().st_size < 5_000_000
    assert fill(text, config, results, DROPOUT.parent, str(page)) == text, "run make reproduction-docs"
