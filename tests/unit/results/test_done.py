"""One notion of done: a cell that is damaged, edited or made for another job is refused by all that read cells."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from helpers import result_rows

from dia.cli import main
from dia.config.config import Config
from dia.config.jobs import attack_job
from dia.errors import RecordError
from dia.jobs.attack_job import AttackJob
from dia.models.custom import FingerprintedModel
from dia.reporting.figures.reconstructions import reconstructions
from dia.reporting.status import cell_status
from dia.reporting.tracking.content import run_content
from dia.results.cell_file import read_cell, read_pictures, write_cell
from dia.results.cell_head import CONTENT, HEAD, check_cell
from dia.results.collected import collect

CELL = result_rows.cell(dropout_rate="0.5")
OTHER = result_rows.cell(dropout_rate="0.5", attack="ig")
GRID: dict[str, Any] = {
    "name": "done",
    "datasets": {"mnist": {"source": "bundled-mnist", "images": 16}},
    "scenarios": {"default": {"victims": 2}},
    "grids": [
        {
            "datasets": ["mnist"],
            "models": ["mlp"],
            "dropout_rates": ["0.5"],
            "attacks": ["ig", "dia"],
            "seeds": [0],
        }
    ],
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Two finished cells in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump(GRID))
    config = Config.from_file("config.yaml")
    for cell in config.cells:
        result_rows.write(config.results / "cells", cell)
    return config


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One tracking store for all tests: setting it up takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table], keep_hash: bool) -> None:
    """Change a cell's table and write it again with its metadata, as somebody with pyarrow would."""
    with pq.ParquetFile(path) as file:
        table, metadata = change(file.read()), file.metadata.metadata
    table = table.replace_schema_metadata({HEAD: metadata[HEAD]})
    with pq.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table)
        if keep_hash:
            writer.add_key_value_metadata({CONTENT: metadata[CONTENT]})


def replaced(name: str, value: Callable[[list[Any]], list[Any]]) -> Callable[[pa.Table], pa.Table]:
    """Replace a column's values."""

    def change(table: pa.Table) -> pa.Table:
        field = table.schema.field(name)
        column = pa.array(value(table[name].to_pylist()), field.type)
        return table.set_column(table.column_names.index(name), field, column)

    return change


EDITS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "ssim": replaced("ssim", lambda column: [value + 1 for value in column]),
    "one victim's mse": replaced("mse", lambda column: [0.0, *column[1:]]),
    "labels": replaced("labels", lambda column: [[9], *column[1:]]),
    "notes": replaced("notes", lambda column: ["solved"] * len(column)),
    "a chance level removed": replaced("ssim_mean_image", lambda column: [None] * len(column)),
    "a curve": replaced("history_mse", lambda column: [list(reversed(curve)) for curve in column]),
    "a picture": replaced("reconstruction", lambda column: [[0.5] * len(image) for image in column]),
    "a picture's PNG": replaced("original_png", lambda column: list(reversed(column))),
    "a setting": replaced("learning_rate", lambda column: [0.2] * len(column)),
    "victims swapped": lambda table: table.take([1, 0]),
    "a victim doubled": lambda table: table.take([0, 0]),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("keep_hash", [True, False], ids=["with the old hash", "without a hash"])
def test_an_edited_cell_is_no_cell(config: Config, edit: str, keep_hash: bool) -> None:
    job = attack_job(config, CELL)
    path = config.cell_path(CELL)
    rewritten(path, EDITS[edit], keep_hash)
    reason = "edited: its content is not what was written" if keep_hash else "written again by something else"
    for reading in (
        lambda: read_cell(path, job, ["ssim"]),
        lambda: read_pictures(path, job),
        lambda: check_cell(path, job),
        lambda: run_content(job, path),
        lambda: reconstructions([(job, path)]),
        lambda: collect([(job, path)], Path("results.parquet")),
        lambda: read_cell(path),
    ):
        with pytest.raises(RecordError, match=f"p0.5/dia/seed0.parquet: .*{reason}"):
            reading()
    assert not Path("results.parquet").exists()
    status = cell_status(config, CELL)
    assert status.state == "missing" and reason in status.reason


def other_dataset(job: AttackJob) -> AttackJob:
    return job.model_copy(update={"dataset": job.dataset | {"images": 32}})


MADE_FOR: dict[str, tuple[Callable[[AttackJob], AttackJob], str]] = {
    "a number": (lambda job: result_rows.job(job.cell, max_iterations=3), "{'max_iterations': 3}"),
    "a choice": (lambda job: result_rows.job(job.cell, precision="float64"), "{'precision': 'float64'}"),
    "two settings": (
        lambda job: result_rows.job(job.cell, tv_weight=0.5, restarts=2),
        "{'restarts': 2, 'tv_weight': 0.5}",
    ),
    "a dataset": (other_dataset, "{'dataset.images': 32}"),
    "a model": (
        lambda job: result_rows.job(job.cell, model=FingerprintedModel(factory="module:m.old", source="0")),
        "{'model_definition': {'arguments': {}, 'dropout_rates': 'cell', 'factory': 'module:m.old', 'source': '0'}}",
    ),
    "another cell": (lambda job: result_rows.job(OTHER), f"holds the cell {OTHER.id}, expected {CELL.id}"),
}


@pytest.mark.parametrize("other", MADE_FOR)
def test_a_cell_made_for_another_job_is_refused_everywhere(
    config: Config, other: str, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Put under the cell's path, or left there by an earlier config."""
    change, reason = MADE_FOR[other]
    wanted = attack_job(config, CELL)
    job, path = change(wanted), config.cell_path(CELL)
    said = {name: getattr(job.settings, name) for name in type(job.settings).model_fields}
    write_cell(path, result_rows.rows(job.cell, model_definition=job.model_definition, **said), job)
    assert main(["cells", "--config", "config.yaml", "--out", "all.jsonl"]) == 0
    for command in (
        ["collect", "--job-list", "all.jsonl", "--out", "results.parquet"],
        ["figures", "reconstructions", "--job-list", "all.jsonl", "--out", "x.png"],
        ["sync", "--config", "config.yaml", "--job-list", "all.jsonl", "--uri", store],
    ):
        assert main(command) == 1
        printed = capsys.readouterr().err
        assert f"{path}: " in printed and reason in printed
    assert not Path("results.parquet").exists() and not Path("x.png").exists()

    main(["status", "--config", "config.yaml"])
    printed = capsys.readouterr().out
    assert printed.startswith("done: 1 of 2 cells are done; 1 missing\n") and reason in printed
    assert main(["cells", "--config", "config.yaml", "--finished", "--out", "some.jsonl"]) == 0
    assert reason in capsys.readouterr().err
    assert main(["collect", "--job-list", "some.jsonl", "--out", "results.parquet"]) == 0
    assert capsys.readouterr().out == "collected 2 rows of 1 cells in results.parquet\n"


def test_bytes_that_flip_never_change_what_is_read(tmp_path: Path) -> None:
    job, path = result_rows.made(tmp_path, CELL)
    whole, before = path.read_bytes(), read_cell(path, job)
    generator = np.random.default_rng(0)
    for place in generator.choice(len(whole), 250, replace=False):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(flipped)
        try:
            assert read_cell(path, job).equals(before)  # a bit of the footer that nothing depends on
        except RecordError as error:
            assert str(path) in str(error)


def test_a_file_cut_anywhere_is_refused_by_its_head(tmp_path: Path) -> None:
    job, path = result_rows.made(tmp_path, CELL)
    whole = path.read_bytes()
    for length in [*range(0, 16), *range(16, len(whole), 997), *range(len(whole) - 12, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(RecordError, match=r"seed0\.parquet: truncated or damaged"):
            check_cell(path, job, head_only=True)


def test_all_cells_that_are_not_done_are_named_before_any_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [result_rows.made(tmp_path, result_rows.cell(seed=seed)) for seed in range(30)]
    for _, path in jobs[5:8]:
        path.write_bytes(path.read_bytes()[:-9])
    jobs[8] = (result_rows.job(jobs[8][0].cell, max_iterations=4), jobs[8][1])
    monkeypatch.setattr("dia.results.collected.read_cell", lambda *_: pytest.fail("read before the heads"))
    with pytest.raises(RecordError, match="4 of 30 cells cannot be used:") as caught:
        collect(jobs, tmp_path / "results.parquet")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0].strip() for line in lines[1:-1]] == [str(path) for _, path in jobs[5:9]]
    shutil.rmtree(tmp_path / "default")
    with pytest.raises(RecordError, match="30 of 30 cells cannot be used:") as caught:
        collect(jobs, tmp_path / "results.parquet")
    assert str(caught.value).splitlines()[-2:] == ["  ...", "remove these files and run their cells again"]


def test_rows_that_say_otherwise_than_their_job_are_not_written(tmp_path: Path) -> None:
    for job in (result_rows.job(CELL, learning_rate=0.2), result_rows.job(OTHER)):
        with pytest.raises(RecordError, match=r"the rows say (learning_rate|cell_id) \S+, their job"):
            write_cell(tmp_path / "x.parquet", result_rows.rows(CELL), job)
    assert list(tmp_path.iterdir()) == []
