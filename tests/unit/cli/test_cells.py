"""``dia cells``: all cells of a config, or those that can be collected now."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import result_rows

from dia.cli import main
from dia.config.config import Config
from dia.config.jobs import attack_job
from dia.results.cell_file import write_cell
from dia.results.job_list import read_job_list

CONFIG: dict[str, Any] = yaml.safe_load("""
name: small
datasets: {mnist: {source: bundled-mnist, images: 16}}
scenarios: {default: {victims: 2}}
grids: [{datasets: [mnist], models: [mlp], dropout_rates: ["0", "0.50"], attacks: [ig, dia], seeds: [0]}]
""")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A config in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    return Config.load(CONFIG)


def listed(printed: str) -> list[str]:
    """The paths of a job list."""
    return [json.loads(line)["path"] for line in printed.splitlines()]


def test_all_cells_are_listed_in_order(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cells", "--config", "config.yaml"]) == 0
    assert listed(capsys.readouterr().out) == [str(config.cell_path(cell)) for cell in config.cells]


def test_the_list_and_the_config_can_be_files(config: Config) -> None:
    text = json.dumps(CONFIG)
    assert main(["cells", "--config-json", text, "--out", "cells.jsonl", "--config-out", "config.json"]) == 0
    jobs = read_job_list("cells.jsonl")
    assert jobs == [(attack_job(config, cell), config.cell_path(cell)) for cell in config.cells]
    assert Config.from_file("config.json") == config


def test_finished_cells_alone_and_the_reason_of_the_others(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, foreign, other, good = config.cells
    folder = config.results / "cells"
    write_cell(config.cell_path(foreign), result_rows.rows(good), result_rows.job(good))
    result_rows.write(folder, other, learning_rate=0.2)
    result_rows.write(folder, good)
    assert main(["cells", "--config", "config.yaml", "--finished"]) == 0
    printed = capsys.readouterr()
    assert listed(printed.out) == [str(config.cell_path(good))]
    assert f"left out {missing.id}: not started" in printed.err
    assert f"left out {foreign.id}: " in printed.err
    assert f"holds the cell {good.id}, expected {foreign.id}" in printed.err
    assert f"left out {other.id}: made with other settings: {{'learning_rate': 0.2}}" in printed.err
    assert "1 of 4 cells are finished" in printed.err


def test_text_that_is_no_json_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cells", "--config-json", "{"]) == 1
    assert "dia cells: error: --config-json is not JSON" in capsys.readouterr().err
