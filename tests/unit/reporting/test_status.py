"""``dia status``: what became of each cell, with its reason, and how long the rest takes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import result_rows

from dia.cli import main
from dia.config.config import Config
from dia.execution.attempts import AttemptRecord
from dia.models.custom import FingerprintedModel
from dia.reporting.status import CellStatus, cell_status, grid_status, seconds_left, with_reasons
from dia.results.cell_file import write_cell
from dia.utils.text import in_words


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Two rates by three seeds of dia on mlp, none of them done."""
    monkeypatch.chdir(tmp_path)
    axes = {"datasets": ["mnist"], "models": ["mlp"], "dropout_rates": ["0.1", "0.50"]}
    grid = {**axes, "attacks": ["dia"], "seeds": [0, 1, 2]}
    mapping = {
        "name": "night",
        "datasets": {"mnist": {"source": "bundled-mnist", "images": 16}},
        "scenarios": {"default": {"victims": 2}},
        "grids": [grid],
    }
    Path("config.yaml").write_text(yaml.safe_dump(mapping))
    return Config.from_file("config.yaml")


def finish(config: Config, number: int, seconds: float) -> None:
    cell = config.cells[number]
    result_rows.write(config.results / "cells", cell, seconds=seconds / 2)  # two victims


def test_each_state_with_its_reason(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    cells = config.cells
    finish(config, 0, 600)
    AttemptRecord(config.attempt_path(cells[1]), cells[1].id)  # this very process: alive
    AttemptRecord(config.attempt_path(cells[2]), cells[2].id).end(
        "failed", "AttackError: a loss is not finite"
    )
    AttemptRecord(config.attempt_path(cells[3]), cells[3].id).end("interrupted", "stopped by SIGUSR1")
    finish(config, 4, 600)
    path = config.cell_path(cells[4])
    path.write_bytes(path.read_bytes()[:-30])

    assert main(["status", "--config", "config.yaml", "--jobs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "night: 1 of 6 cells are done; 1 running, 1 interrupted, 1 failed, 2 missing"
    assert lines[1].startswith(f"running     {cells[1].id}: running on ")
    assert lines[2].startswith(f"interrupted {cells[3].id}: interrupted on ")
    assert lines[2].endswith("at iteration 0: stopped by SIGUSR1")
    assert lines[3].endswith("AttackError: a loss is not finite")
    assert f"missing     {cells[4].id}: " in lines[4] and "truncated or damaged" in lines[4]
    assert lines[5] == f"missing     {cells[5].id}: not started"
    assert lines[6] == (
        "The rest takes about 50 min of attack time, judging by the cells that are done; 25 min with 2 cells at a time."
    )

    main(["status", "--config", "config.yaml", "--failed"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["failed", "interrupted"]


def test_cells_that_are_not_started_share_a_line(config: Config) -> None:
    """A grid of hundreds of cells that has just begun says so in a few lines."""
    waiting = [CellStatus(cell, "missing", "not started") for cell in config.cells * 3]
    damaged = [CellStatus(cell, "missing", "truncated") for cell in config.cells[:2]]
    lines = with_reasons([*waiting, *damaged])
    assert lines[:2] == [f"{cell.id}: truncated" for cell in config.cells[:2]]
    assert lines[2].startswith(f"{config.cells[0].id}, {config.cells[1].id}, ")
    assert lines[2].endswith(" and 8 more: not started")
    assert with_reasons([]) == []


def test_a_second_attempt_is_told(config: Config) -> None:
    cell = config.cells[0]
    for _ in range(2):
        AttemptRecord(config.attempt_path(cell), cell.id).end("failed", "x")
    assert cell_status(config, cell).reason.endswith("at iteration 0: x (attempt 2)")


def test_other_settings_and_other_cells_do_not_count_as_done(config: Config) -> None:
    one, other = config.cells[:2]
    result_rows.write(config.results / "cells", one, learning_rate=0.5)
    write_cell(config.cell_path(other), result_rows.rows(one), result_rows.job(one))
    found = grid_status(config)
    assert found[0].reason == "made with other settings: {'learning_rate': 0.5}"
    assert f"holds the cell {one.id}, expected {other.id}" in found[1].reason
    assert {found[0].state, found[1].state} == {"missing"}
    model = FingerprintedModel(factory="module:m.old", source="0")
    job = result_rows.job(one, model=model)
    write_cell(config.cell_path(one), result_rows.rows(one, model_definition=job.model_definition), job)
    assert "made with other settings: {'model_definition': {" in cell_status(config, one).reason


def test_the_median_of_like_cells_is_the_estimate(config: Config) -> None:
    assert seconds_left(grid_status(config)) == (0.0, 6)
    for number, seconds in enumerate((10, 20, 90)):
        finish(config, number, seconds)
    assert seconds_left(grid_status(config)) == (60.0, 0)


def test_a_closed_form_says_nothing_about_other_attacks() -> None:
    def cell(attack: str, **done: Any) -> CellStatus:
        return CellStatus(result_rows.cell(attack=attack), "done" if done else "missing", **done)

    closed = cell("analytic", seconds=1.0)
    assert seconds_left([closed, cell("ig")]) == (0.0, 1)
    assert seconds_left([closed, cell("dia", seconds=50.0, iterations=9), cell("ig")]) == (50.0, 0)
    assert seconds_left([closed, cell("analytic")]) == (1.0, 0)


def test_nothing_done_nothing_known(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    main(["status", "--config", "config.yaml"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("How long the rest takes is not known")


def test_all_done(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        finish(config, number, 1)
    main(["status", "--config", "config.yaml"])
    assert capsys.readouterr().out == "night: 6 of 6 cells are done\n"


def test_an_impossible_number_of_jobs_is_refused(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", "config.yaml", "--jobs", "0"]) == 1
    assert "--jobs is 0; it must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"), [(7.6, "8 s"), (600, "10 min"), (7500, "2 h 5 min"), (3600 * 51, "2 d 3 h")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
