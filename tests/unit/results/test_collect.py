"""Collecting cells: all of them, in order, whole, and of the same victims."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers import result_rows

from dia.cli import main
from dia.errors import RecordError
from dia.jobs.cell import Cell
from dia.reporting.tables.spec import DERIVED, MEASURES, TABLE_AXES
from dia.results.cell_file import PICTURE_NAMES
from dia.results.collected import collect, read_results
from dia.results.columns import schema
from dia.results.job_list import job_list_text, read_job_list


def test_collecting_keeps_order_and_drops_pictures(tmp_path: Path) -> None:
    cells = [result_rows.cell(seed=seed) for seed in (2, 0, 1)]
    pairs = [result_rows.made(tmp_path, cell, ssim=[0.1 * cell.seed, 0.5]) for cell in cells]
    summary = collect(pairs, tmp_path / "results.parquet")
    assert (summary.cells, summary.rows, summary.warning()) == (3, 6, None)
    table = read_results(tmp_path / "results.parquet")
    assert table["seed"].to_pylist() == [2, 2, 0, 0, 1, 1]
    assert table["ssim"].to_pylist() == pytest.approx([0.2, 0.5, 0.0, 0.5, 0.1, 0.5])
    assert set(schema().names) - set(table.column_names) == set(PICTURE_NAMES)
    assert read_results(tmp_path / "results.parquet", ["ssim"]).column_names == ["ssim"]


def test_a_compact_file_has_every_number_that_a_table_may_show(tmp_path: Path) -> None:
    pairs = [result_rows.made(tmp_path, result_rows.cell())]
    collect(pairs, tmp_path / "whole.parquet")
    collect(pairs, tmp_path / "compact.parquet", compact=True)
    whole, compact = (read_results(tmp_path / f"{name}.parquet") for name in ("whole", "compact"))
    assert {*MEASURES, *TABLE_AXES} - {*DERIVED} <= set(compact.column_names)
    assert compact.equals(whole.select(compact.column_names))
    left_out = set(whole.column_names) - set(compact.column_names)
    assert {"history_mse", "history_iteration", "ssim_per_image"} <= left_out
    assert all(name.startswith("history_") or name.endswith("_per_image") for name in left_out)


def test_collecting_small_groups_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [result_rows.made(tmp_path, cell) for cell in (result_rows.cell(seed=s) for s in range(4))]
    collect(pairs, tmp_path / "one.parquet")
    monkeypatch.setattr("dia.results.collected._GROUP_BYTES", 1)
    collect(pairs, tmp_path / "four.parquet")
    assert pq.ParquetFile(tmp_path / "four.parquet").num_row_groups == 4
    assert pq.ParquetFile(tmp_path / "one.parquet").num_row_groups == 1
    assert read_results(tmp_path / "one.parquet").equals(read_results(tmp_path / "four.parquet"))


def test_collecting_nothing_gives_a_table_without_rows(tmp_path: Path) -> None:
    assert collect([], tmp_path / "results.parquet").cells == 0
    assert read_results(tmp_path / "results.parquet").num_rows == 0


def test_cells_of_different_code_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cells = [result_rows.cell(seed=seed) for seed in range(3)]
    pairs = [result_rows.made(tmp_path, c, code_fingerprint="ab"[c.seed == 1] * 64) for c in cells]
    summary = collect(pairs, tmp_path / "results.parquet")
    assert "2 cells with aaaaaaaaaaaa" in caplog.text
    assert "1 with bbbbbbbbbbbb: default/mnist/mlp/p0.50/dia/seed1" in caplog.text
    assert summary.warning() is not None


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign", "twice"])
def test_one_bad_cell_leaves_the_collected_file_alone(tmp_path: Path, damage: str) -> None:
    pairs = [result_rows.made(tmp_path, cell) for cell in (result_rows.cell(seed=s) for s in range(2))]
    out = tmp_path / "results.parquet"
    out.write_bytes(b"earlier")
    bad = pairs[1][1]
    if damage == "missing":
        bad.unlink()
    elif damage == "truncated":
        bad.write_bytes(bad.read_bytes()[:-9])
    elif damage == "foreign":
        bad.write_bytes(pairs[0][1].read_bytes())
    else:
        pairs.append(pairs[1])
    with pytest.raises(RecordError, match=r"seed1\.parquet"):
        collect(pairs, out)
    assert out.read_bytes() == b"earlier"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["results.parquet"]


def test_results_that_are_not_results_are_refused(tmp_path: Path) -> None:
    path = result_rows.write(tmp_path, result_rows.cell())
    with pytest.raises(RecordError, match="not a file of collected cells"):
        read_results(path)
    with pytest.raises(RecordError, match="no such file"):
        read_results(tmp_path / "none.parquet")
    collect([(result_rows.job(result_rows.cell()), path)], tmp_path / "results.parquet")
    with pytest.raises(RecordError, match="no column fid; the columns are cell_id, "):
        read_results(tmp_path / "results.parquet", ["ssim", "fid"])


def job_list(folder: Path, cells: list[Cell]) -> Path:
    path = folder / "cells.jsonl"
    path.write_text(job_list_text((result_rows.job(cell), folder / cell.path) for cell in cells))
    return path


def test_collect_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [result_rows.cell(seed=seed) for seed in range(3)]
    jobs, out = job_list(tmp_path, cells), tmp_path / "results.parquet"
    for cell in cells[:2]:
        result_rows.write(tmp_path, cell)
    assert main(["collect", "--job-list", str(jobs), "--out", str(out)]) == 1
    message = capsys.readouterr().err
    assert "1 of 3 cells have no result file: default/mnist/mlp/p0.50/dia/seed2" in message
    assert "list what can be collected with `dia cells --finished`" in message
    assert not out.exists()
    assert main(["collect", "--job-list", str(job_list(tmp_path, cells[:2])), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"collected 4 rows of 2 cells in {out}\n"


@pytest.mark.parametrize("line", ["", "{}", "[1]", '{"cell": {"seed": 1}, "path": "x"}', "no json"])
def test_a_bad_job_list_names_the_line(tmp_path: Path, line: str) -> None:
    path = job_list(tmp_path, [result_rows.cell()])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(RecordError, match=r"cells\.jsonl, line 2: expected"):
        read_job_list(path)
    path.write_text(path.read_text().splitlines()[0] + "\n" + path.read_text().splitlines()[0])
    with pytest.raises(RecordError, match=r"line 2.*listed twice"):
        read_job_list(path)


def test_cells_that_attacked_different_victim_sets_are_not_mixed(tmp_path: Path) -> None:
    cells = [result_rows.cell(seed=seed) for seed in range(3)]
    jobs = [result_rows.made(tmp_path, cell) for cell in cells]
    result_rows.write(tmp_path, cells[1], victims_sha256="w" * 64)
    out = tmp_path / "results.parquet"
    with pytest.raises(
        RecordError, match=r"victim set of dataset mnist changed.*but default/mnist/.*seed1 attacked"
    ):
        collect(jobs, out)
    assert not out.exists()
    result_rows.write(tmp_path, cells[1])
    collect(jobs, out)
    assert out.exists()
