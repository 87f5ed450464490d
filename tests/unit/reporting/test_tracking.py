"""MLflow on a real SQLite store: what runs hold, and that syncing twice adds nothing."""

import fcntl
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import result_rows
from PIL import Image

from dia.cli import main
from dia.errors import RecordError, TrackingError
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.reporting.tracking.content import picture
from dia.reporting.tracking.store import sqlite_file, tracking_client
from dia.reporting.tracking.sync import SyncSummary, sync
from dia.results.cell_head import check_cell
from dia.results.job_list import job_list_text

Runs = Callable[..., list[Any]]
CELLS = [result_rows.cell(attack=attack, dropout_rate=p) for p in ("0.25", "0.5") for attack in ("ig", "dia")]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests (setting it up takes seconds); each test has its own experiment."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'sub' / 'mlflow.db'}"


@pytest.fixture
def client(uri: str) -> Iterator[Any]:
    with tracking_client(uri):
        pass
    from mlflow import MlflowClient

    yield MlflowClient(tracking_uri=uri)


def write(folder: Path, cells: list[Cell] = CELLS) -> list[tuple[AttackJob, Path]]:
    return [result_rows.made(folder, cell) for cell in cells]


def runs(client: Any, experiment: str, kind: str = "cell") -> list[Any]:
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id], f"tags.`dia.kind` = '{kind}'"))


def test_each_cell_becomes_a_run(tmp_path: Path, uri: str, client: Any) -> None:
    jobs = write(tmp_path)
    assert sync(jobs, uri=uri, experiment="one") == SyncSummary(added=4)
    by_cell = {run.data.tags["dia.cell_id"]: run for run in runs(client, "one")}
    assert set(by_cell) == {cell.id for cell in CELLS}
    run = by_cell["default/mnist/mlp/p0.5/dia/seed0"]
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "mnist, mlp, p 0.5, dia, seed 0"
    assert run.info.start_time == 1793613600000  # 2026-11-02T10:00:00Z
    assert run.info.end_time - run.info.start_time == 4000  # two victims of two seconds

    params = run.data.params
    assert {name: params[name] for name in ("dataset", "dropout_rate", "attack", "seed", "victims")} == {
        "dataset": "mnist",
        "dropout_rate": "0.5",
        "attack": "dia",
        "seed": "0",
        "victims": "2",
    }
    metrics = run.data.metrics
    assert metrics["ssim"] == pytest.approx(0.7)  # of 0.9 and 0.5
    assert metrics["success"] == 0.5
    assert metrics["ssim_mean_image"] == pytest.approx(0.2)
    assert metrics["ssim_same_class"] == pytest.approx(0.3)  # of the one victim that has it
    assert metrics["mask_accuracy"] == pytest.approx(0.95)
    assert "mask_accuracy" not in by_cell["default/mnist/mlp/p0.5/ig/seed0"].data.metrics

    history = client.get_metric_history(run.info.run_id, "curves/total_loss")
    assert [point.step for point in history] == list(range(0, 100, 10))
    assert history[0].value == pytest.approx(1.0)
    assert history[-1].value == pytest.approx(0.2 * (1 - 0.7), rel=1e-5)

    assert run.data.tags["dia.path"] == str(jobs[3][1])
    assert run.data.tags["dia.git_commit"] == "0" * 40
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["reconstructions.png"]
    downloaded = client.download_artifacts(run.info.run_id, "reconstructions.png", str(tmp_path))
    assert Image.open(downloaded).format == "PNG"


def test_runs_stand_side_by_side_and_are_found_by_what_they_are(
    tmp_path: Path, uri: str, client: Any
) -> None:
    sync(write(tmp_path, [*CELLS, result_rows.cell(model="vit")]), uri=uri, experiment="flat")
    experiment = client.get_experiment_by_name("flat").experiment_id
    every = client.search_runs([experiment])
    assert len(every) == 5 and all("ssim" in run.data.metrics for run in every)  # none without a number
    assert not any("mlflow.parentRunId" in run.data.tags for run in every)
    assert len(client.search_runs([experiment], "params.attack = 'ig' and metrics.ssim > 0.6")) == 2
    assert len(client.search_runs([experiment], "params.model = 'vit'")) == 1


def test_syncing_twice_adds_nothing(tmp_path: Path, uri: str, client: Any) -> None:
    jobs = write(tmp_path)
    sync(jobs, uri=uri, experiment="twice")
    before = {run.info.run_id for run in runs(client, "twice")}
    assert sync(jobs, uri=uri, experiment="twice") == SyncSummary(unchanged=4)
    assert {run.info.run_id for run in runs(client, "twice")} == before


def test_a_new_cell_adds_only_its_run(tmp_path: Path, uri: str, client: Any) -> None:
    jobs = write(tmp_path)
    sync(jobs[:3], uri=uri, experiment="more")
    assert sync(jobs, uri=uri, experiment="more") == SyncSummary(added=1, unchanged=3)


def test_a_cell_computed_again_replaces_its_run(tmp_path: Path, uri: str, client: Any) -> None:
    jobs = write(tmp_path)
    sync(jobs, uri=uri, experiment="again")
    result_rows.write(tmp_path, CELLS[1], ssim=[0.8, 0.8])
    assert sync(jobs, uri=uri, experiment="again") == SyncSummary(replaced=1, unchanged=3)
    by_cell = {run.data.tags["dia.cell_id"]: run for run in runs(client, "again")}
    assert len(runs(client, "again")) == 4
    assert by_cell[CELLS[1].id].data.metrics["ssim"] == pytest.approx(0.8)
    assert by_cell[CELLS[0].id].data.metrics["ssim"] == pytest.approx(0.7)


def test_a_run_left_unfinished_is_replaced(tmp_path: Path, uri: str, client: Any) -> None:
    jobs = write(tmp_path)
    sync(jobs[:1], uri=uri, experiment="killed")
    where = client.get_experiment_by_name("killed").experiment_id
    tags = {
        "dia.kind": "cell",
        "dia.cell_id": CELLS[1].id,
        "dia.content": check_cell(jobs[1][1], jobs[1][0]).content,
    }
    client.create_run(where, tags=tags)
    assert sync(jobs, uri=uri, experiment="killed") == SyncSummary(added=2, replaced=1, unchanged=1)
    found = runs(client, "killed")
    assert len(found) == 4
    assert {run.info.status for run in found} == {"FINISHED"}


def test_a_bad_cell_is_named_and_the_others_have_their_runs(tmp_path: Path, uri: str, client: Any) -> None:
    jobs = write(tmp_path)
    jobs[2][1].write_bytes(jobs[2][1].read_bytes()[:-20])
    with pytest.raises(RecordError, match=r"p0\.5/ig/seed0\.parquet: truncated or damaged"):
        sync(jobs, uri=uri, experiment="bad")
    assert len(runs(client, "bad")) == 3
    result_rows.write(tmp_path, CELLS[2])
    assert sync(jobs, uri=uri, experiment="bad") == SyncSummary(added=1, unchanged=3)


def test_a_deleted_experiment_comes_back(tmp_path: Path, uri: str, client: Any) -> None:
    jobs = write(tmp_path)
    sync(jobs, uri=uri, experiment="deleted")
    client.delete_experiment(client.get_experiment_by_name("deleted").experiment_id)
    sync(jobs, uri=uri, experiment="deleted")
    assert len(runs(client, "deleted")) == 4


def test_only_one_process_writes_to_sqlite(tmp_path: Path, uri: str, client: Any) -> None:
    database = sqlite_file(uri)
    assert database is not None
    with database.with_name(".mlflow.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TrackingError, match=r"mlflow\.db: another process is syncing"):
            sync(write(tmp_path), uri=uri, experiment="locked")


def test_a_store_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to look like one to SQLite" * 20)
    with pytest.raises(
        TrackingError,
        match=r"cannot write to the tracking store sqlite:.*results are complete",
    ):
        sync(write(tmp_path), uri=f"sqlite:///{tmp_path / 'mlflow.db'}", experiment="x")


def test_an_unreachable_server_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError) as caught:  # port 9 (discard): nothing listens there
        sync(write(tmp_path), uri="http://somebody:secret@127.0.0.1:9", experiment="x")
    assert "cannot write to the tracking store http://somebody:...@127.0.0.1:9" in str(caught.value)
    assert "results are complete" in str(caught.value)


def test_the_picture_shows_originals_above_reconstructions(tmp_path: Path) -> None:
    path = result_rows.write(tmp_path, CELLS[0])
    pixels = np.asarray(Image.open(io.BytesIO(picture(CELLS[0], path, side=16))))
    assert pixels.shape == (2 * (16 + 4), 2 * (16 + 4))  # two victims of 8 by 8, doubled, framed by 2
    original = np.random.default_rng(1).random((1, 1, 8, 8), dtype=np.float32)[0, 0]
    shown = pixels[2:18:2, 22:38:2] / 255
    np.testing.assert_allclose(shown, original, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(pixels[22:38:2, 22:38:2] / 255, 0.5 * original, atol=0.5 / 255 + 1e-6)


def test_sync_verb(
    tmp_path: Path, uri: str, client: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = {"datasets": ["mnist"], "models": ["mlp"], "dropout_rates": ["0.25", "0.5"]}
    grid = {**axes, "attacks": ["ig", "dia"], "seeds": [0]}
    config = {
        "name": "verb",
        "datasets": {"mnist": {"source": "bundled-mnist", "images": 16}},
        "scenarios": {"default": {"victims": 2}},
        "grids": [grid],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    jobs = write(tmp_path)
    (tmp_path / "cells.jsonl").write_text(job_list_text(jobs))
    jobs[0][1].unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    command = ["sync", "--config", str(tmp_path / "config.yaml"), "--job-list", str(tmp_path / "cells.jsonl")]
    assert main([*command, "--out", str(tmp_path / "tracking.json")]) == 0
    expected = (
        "MLflow experiment verb: 3 runs added, 0 replaced, 0 unchanged; 1 of 4 cells have no result yet\n"
    )
    assert capsys.readouterr().out == expected
    receipt = json.loads((tmp_path / "tracking.json").read_text())
    assert (receipt["experiment"], receipt["runs"]) == ("verb", 3)
    assert re.fullmatch(
        r"/#/experiments/\d+/runs\?workflowType=machine_learning&viewStateShareKey=dia", receipt["page"]
    )
    assert len(runs(client, "verb")) == 3
