"""The page that says what was run."""

from pathlib import Path

import pytest
from helpers import result_rows

from dia.cli import main
from dia.config.config import Config
from dia.execution.attempts import AttemptRecord
from dia.results.collected import collect


def test_cells_settings_versions_and_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grid = {
        "datasets": ["mnist"],
        "models": ["mlp"],
        "dropout_rates": ["0.5"],
        "attacks": ["ig", "wiig", "dia"],
    }
    mapping = {
        "name": "made-up",
        "datasets": {"mnist": {"source": "bundled-mnist", "images": 16}},
        "scenarios": {"default": {"victims": 2}},
        "grids": [grid | {"seeds": [0]}],
    }
    config = Config.load(mapping)
    ig, wiig, _ = config.cells
    collect([result_rows.made(tmp_path, ig, notes="<fell back>")], tmp_path / "results.parquet")
    log = config.results / "logs" / "attack" / f"{wiig.id}.json"
    log.parent.mkdir(parents=True)
    AttemptRecord(log, wiig.id).end("failed", "the loss is not finite")
    (tmp_path / "config.json").write_text(config.identity())
    command = [
        "summary",
        "--config",
        "config.json",
        "--results",
        "results.parquet",
        "--out",
        "out/summary.html",
    ]
    assert main(command) == 0
    page = Path("out/summary.html").read_text()
    assert "<h1>made-up: 1 of 3 cells</h1>" in page
    assert "the loss is not finite" in page
    assert 'p0.5/dia/seed0</td><td class="text">not started' in page
    assert '<td class="text">victims</td><td class="text">2</td><td class="text">128</td>' in page
    assert "some processor" in page
    assert "2.13.0" in page
    assert "000000000000" in page  # the commit
    assert "mnist from made up" in page
    assert "&lt;fell back&gt;" in page
    assert "dropout_rates:" in page  # the configuration
    collect([], tmp_path / "results.parquet")
    assert main(command) == 0
    assert "0 of 3 cells" in Path("out/summary.html").read_text()
