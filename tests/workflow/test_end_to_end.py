"""config/test.yaml from images to tables, once; then what a second run does after each kind of change."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from helpers.workplace import ROOT, Workplace

from dia.config.config import Config

CONFIG = ROOT / "config" / "test.yaml"
CELLS = Config.from_file(CONFIG).cells
RESULTS = Path("results/test")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A workplace in which config/test.yaml has run. Tests leave it finished."""
    workplace = Workplace(tmp_path_factory.mktemp("finished"))
    workplace.snakemake("--configfile", CONFIG)
    yield workplace


def cell_file(workplace: Workplace, number: int) -> Path:
    """The result file of one cell."""
    return workplace.folder / RESULTS / "cells" / CELLS[number].path


def written(workplace: Workplace) -> dict[str, int]:
    """Time of writing of each cell."""
    return {cell.id: os.stat(cell_file(workplace, i)).st_mtime_ns for i, cell in enumerate(CELLS)}


def test_every_cell_has_its_rows_log_and_benchmark(finished: Workplace) -> None:
    for number, cell in enumerate(CELLS):
        rows = pq.read_table(cell_file(finished, number)).to_pylist()
        assert len(rows) == (2 if cell.model == "mlp" else 1)
        assert {row["cell_id"] for row in rows} == {cell.id}
        assert {row["max_iterations"] for row in rows} == {20 if cell.model == "mlp" else 3}
        assert {row["device"] for row in rows} == {"cpu"}
        assert (finished.folder / RESULTS / "logs" / "attack" / f"{cell.id}.log").stat().st_size > 0
        assert (finished.folder / RESULTS / "benchmarks" / "attack" / f"{cell.id}.tsv").stat().st_size > 0


def test_cells_of_earlier_grids_start_first(finished: Workplace) -> None:
    """Of the first grid at most the other cells that run at a time are still on their way to the start then."""
    started = {
        cell.id: pq.read_table(cell_file(finished, number))["started_at"][0].as_py()
        for number, cell in enumerate(CELLS)
    }
    second = min(time for cell, time in started.items() if "/vit/" in cell)
    late = [cell for cell, time in started.items() if "/mlp/" in cell and time > second]
    assert len(late) < (os.cpu_count() or 1)


def test_another_command_in_the_workflow_reruns_no_cell(finished: Workplace, tmp_path: Path) -> None:
    """A later version may call `dia attack` with other options: a week of finished cells stays."""
    for name in ("Snakefile", "workflow", "config", "profiles"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, tmp_path / name)
    rule = tmp_path / "workflow" / "rules" / "attack.smk"
    text = rule.read_text()
    rule.write_text(text.replace(" --device ", "  --device "))
    assert rule.read_text() != text
    assert "attack" not in finished.planned("--configfile", CONFIG, "--snakefile", tmp_path / "Snakefile")


def test_results_are_collected_without_pictures(finished: Workplace) -> None:
    table = pq.read_table(finished.folder / RESULTS / "results.parquet")
    assert table.num_rows == sum(2 if cell.model == "mlp" else 1 for cell in CELLS)
    assert set(table["cell_id"].to_pylist()) == {cell.id for cell in CELLS}
    assert not {"original", "reconstruction", "original_png"} & set(table.column_names)


def test_tables_are_made_in_three_formats(finished: Workplace) -> None:
    tables = finished.folder / RESULTS / "tables"
    assert "8 of 8 cells" in (tables / "dropout.md").read_text()
    assert r"\toprule" in (tables / "dropout.tex").read_text()
    assert "ssim" in (tables / "dropout.csv").read_text().splitlines()[0]


def test_each_model_has_its_picture(finished: Workplace) -> None:
    from PIL import Image

    for model in ("mlp", "vit"):
        path = (
            finished.folder
            / RESULTS
            / "figures"
            / "reconstructions"
            / "default"
            / "mnist"
            / model
            / "seed0.png"
        )
        with Image.open(path) as picture:
            assert min(picture.size) > 200


def tracked(workplace: Workplace) -> list[str]:
    """The cells of the MLflow runs, and the ids of those runs."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workplace.folder / RESULTS / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`dia.cell_id` != ''")
    return sorted(f"{run.data.tags['dia.cell_id']} {run.info.run_id}" for run in runs)


def test_each_cell_is_one_mlflow_run_however_often_it_is_tracked(finished: Workplace) -> None:
    before = tracked(finished)
    assert [line.split()[0] for line in before] == sorted(cell.id for cell in CELLS)
    finished.snakemake("--forcerun", "track", "--configfile", CONFIG)
    assert tracked(finished) == before


def test_a_second_run_has_nothing_to_do(finished: Workplace) -> None:
    assert finished.planned("--configfile", CONFIG) == {}


def test_nothing_is_written_outside_results(finished: Workplace) -> None:
    assert {path.name for path in finished.folder.iterdir()} == {".snakemake", "results"}
    assert [path.name for path in (finished.folder / "results").iterdir()] == ["test"]


def test_how_cells_run_is_no_reason_to_run_them_again(
    finished: Workplace, test_config: dict[str, Any]
) -> None:
    test_config["execution"] = {"device": "auto", "threads": 2, "victims_per_chunk": 1}
    config = finished.config(test_config)
    planned = finished.planned("--configfile", config)
    config.unlink()
    assert planned == {}


def test_a_changed_setting_reruns_the_cells_that_use_it(
    finished: Workplace, test_config: dict[str, Any]
) -> None:
    test_config["scenarios"]["default"]["per_model"]["vit"]["max_iterations"] = 4
    config = finished.config(test_config)
    planned = finished.planned("--configfile", config)
    shown = finished.snakemake("-n", "--configfile", config)
    refused = finished.snakemake("--configfile", config, status=1)
    allowed = finished.snakemake("-n", "--configfile", config, "--config", "replace=true")
    config.unlink()
    replaced = [cell for cell in CELLS if cell.model == "vit"]
    assert planned["attack"] == len(replaced)
    assert "victims" not in planned
    for printed in (shown, refused, allowed):
        assert (
            f"{len(replaced)} finished cells will be replaced, because the config has other settings now"
            in printed
        )
        assert f"{replaced[0].id}: max_iterations 3 -> 4" in printed
        assert "add --config replace=true" in printed
    assert finished.planned("--configfile", CONFIG) == {}


def test_a_longer_axis_adds_only_the_new_cells(finished: Workplace, test_config: dict[str, Any]) -> None:
    test_config["grids"][0]["seeds"] = [0, 1]
    config = finished.config(test_config)
    planned = finished.planned("--configfile", config)
    config.unlink()
    assert planned["attack"] == 6
    assert "victims" not in planned


def test_one_lost_cell_is_reported_by_partial_and_alone_runs_again(finished: Workplace) -> None:
    before = written(finished)
    lost = CELLS[3]
    cell_file(finished, 3).unlink()

    printed = finished.snakemake("partial", "--configfile", CONFIG)
    assert "rule attack" not in printed
    partial = finished.folder / RESULTS / "partial"
    assert f"7 of 8 cells; missing: {lost.id}" in (partial / "tables" / "dropout.md").read_text()
    log = finished.folder / RESULTS / "logs" / "partial" / "list_cells.log"
    assert f"left out {lost.id}: done on " in log.read_text()

    assert finished.planned("--configfile", CONFIG)["attack"] == 1
    finished.snakemake("--configfile", CONFIG)
    after = written(finished)
    assert {cell_id for cell_id in after if after[cell_id] != before[cell_id]} == {lost.id}
    assert finished.planned("--configfile", CONFIG) == {}

    finished.snakemake("partial", "--configfile", CONFIG)
    assert "8 of 8 cells" in (partial / "tables" / "dropout.md").read_text()


def test_partial_leaves_out_damaged_cells_and_those_of_other_settings(
    finished: Workplace, test_config: dict[str, Any]
) -> None:
    damaged = cell_file(finished, 0)
    content, times = damaged.read_bytes(), (damaged.stat().st_atime_ns, damaged.stat().st_mtime_ns)
    damaged.write_bytes(content[: len(content) // 2])
    test_config["scenarios"]["default"]["per_model"]["vit"]["max_iterations"] = 4
    config = finished.config(test_config)
    finished.snakemake("partial", "--configfile", config)
    config.unlink()
    damaged.write_bytes(content)
    os.utime(damaged, ns=times)

    log = (finished.folder / RESULTS / "logs" / "partial" / "list_cells.log").read_text()
    assert f"left out {CELLS[0].id}: " in log
    assert "truncated or damaged" in log
    assert log.count("made with other settings: {'max_iterations': 3}") == 2
    lines = (finished.folder / RESULTS / "partial" / "cells.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 5
    assert finished.planned("--configfile", CONFIG) == {}


def test_one_cell_can_be_forced(finished: Workplace) -> None:
    before = written(finished)
    target = RESULTS / "cells" / CELLS[0].path
    finished.snakemake(target, "--force", "--configfile", CONFIG)
    after = written(finished)
    assert {cell_id for cell_id in after if after[cell_id] != before[cell_id]} == {CELLS[0].id}
    finished.snakemake("--configfile", CONFIG)
