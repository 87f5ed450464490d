"""Faults of machines and people: nothing finished is lost, the message is clear, and a rerun completes the grid.

Killed processes are in test_interruptions.py, faults that need a real Slurm in tests/slurm; damaged and foreign
checkpoints in tests/unit/execution/test_checkpoint.py; full disks in tests/unit/utils/test_files.py.
"""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from helpers.fault_configs import CELLS, DIA, IG, WIIG, attempt, grid, mapping, written
from helpers.polling import wait_for
from helpers.workplace import Workplace

FRAGILE = '''
import torch
from dia.models.mlp import MLP

class Fragile(MLP):
    """Fails on images of a mean above a limit: in the slope of its output there, or in the output."""
    def __init__(self, slope_above=9.0, output_above=9.0, **arguments):
        super().__init__(**arguments)
        self.slope_above, self.output_above = slope_above, output_above

    def forward(self, x):
        mean = x.flatten(1).mean(1, keepdim=True)
        margin = self.slope_above - mean
        slope = 0 * (margin * (margin > 0)).sqrt()  # 0 everywhere; the slope of the root is infinite at 0
        return super().forward(x) + slope + torch.where(mean > self.output_above, torch.nan, 0.0)
'''
"""Of the four victims the last alone has a mean above 0.1; attacks reach 0.3 after some iterations."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Three quick cells, done; others failed for want of CUDA, and for numbers that were not finite."""
    workplace = Workplace(tmp_path_factory.mktemp("finished"))
    (workplace.folder / "fragile.py").write_text(FRAGILE)
    if not torch.cuda.is_available():
        config = workplace.config(mapping(grid("quick", "ig"), execution={"device": "cuda"}))
        printed = workplace.snakemake("--configfile", config, status=1)
        assert re.search(r"dia attack: error: cell \S+: device 'cuda' was asked for, but torch", printed)
        assert "was asked for, but torch" in attempt(workplace, IG)["error"]
    bad = (
        grid("bad", "dia"),
        grid("four", "ig", "dia", models=["steep"]),
        grid("four", "dia", models=["broken"]),
    )
    config = workplace.config(mapping(*bad, grid("quick", "ig", "wiig", "dia")))
    printed = workplace.snakemake("--configfile", config, status=1)
    for cell, reason in {
        "bad/mnist/mlp/p0.5/dia/seed0": r"2 of 2 victims failed \(victim 0000, 0001: the loss is not finite at "
        "iteration 0;",
        "four/mnist/broken/p0.5/dia/seed0": r"4 of 4 victims failed \(victim 0000, 0001, 0002: the loss is not "
        "finite at iteration 1; .*; victim 0003: the client gradient is not finite;",
    }.items():
        assert re.search(f"dia attack: error: cell {cell}: {reason}", printed), printed
        assert re.search(f"cell {cell}: {reason}", attempt(workplace, cell)["error"])
    # Where some victims fail their rows say so, though their losses are finite and the sign of NaN is 0.
    steep = [f"four/mnist/steep/p0.5/{attack}/seed0" for attack in ("ig", "dia")]
    assert set(written(workplace)) == {f"{cell}.parquet" for cell in (IG, WIIG, DIA, *steep)}
    for cell in steep:
        path = workplace.folder / CELLS / f"{cell}.parquet"
        reasons = pq.read_table(path, columns=["stop_reason"])["stop_reason"].to_pylist()
        failed = [
            re.match("failed: the gradient of the loss is not finite at iteration [1-9];", r) for r in reasons
        ]
        assert [reason == "max_iterations" for reason in reasons].count(True) == failed.count(None) == 1
        path.unlink()
    workplace.config(mapping(grid("quick", "ig", "wiig", "dia")))
    workplace.snakemake("--configfile", config)
    return workplace


@pytest.mark.parametrize("damage", ["truncated", "foreign"])
def test_a_bad_cell_file_is_named_and_its_cell_alone_runs_again(finished: Workplace, damage: str) -> None:
    config = finished.folder / "config.yaml"
    cells = finished.folder / CELLS
    bad = cells / f"{WIIG}.parquet"
    content = bad.read_bytes()
    bad.write_bytes(
        content[: len(content) // 2] if damage == "truncated" else (cells / f"{IG}.parquet").read_bytes()
    )
    before = written(finished)
    printed = finished.snakemake("--configfile", config, status=1)
    reason = "truncated or damaged" if damage == "truncated" else f"holds the cell {IG}, expected {WIIG}"
    assert f"{CELLS}/{WIIG}.parquet: {reason}" in printed
    assert written(finished) == before

    bad.unlink()
    finished.snakemake("--configfile", config)
    after = written(finished)
    assert {name for name in after if after[name] != before[name]} == {f"{WIIG}.parquet"}


def test_a_changed_victims_file_is_not_mixed_with_finished_cells(finished: Workplace) -> None:
    """With an old time stamp, say from a backup, Snakemake cannot see it; the rows can."""
    config = finished.folder / "config.yaml"
    victims = finished.folder / "results/faults/victims/mnist.npz"
    content, stamp = victims.read_bytes(), victims.stat()
    other = mapping(
        grid("quick", "ig"), name="other", datasets={"mnist": {"source": "bundled-mnist", "images": 5}}
    )
    side = finished.folder / "other.yaml"
    side.write_text(json.dumps(other))
    finished.snakemake("results/other/victims/mnist.npz", "--configfile", side)
    victims.write_bytes((finished.folder / "results/other/victims/mnist.npz").read_bytes())
    os.utime(victims, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (finished.folder / CELLS / f"{DIA}.parquet").unlink()
    printed = finished.snakemake("--configfile", config, status=1)
    assert "the victim set of dataset mnist changed between cells: 2 cells attacked the one with" in printed
    assert f"but {DIA} attacked another" in printed

    victims.write_bytes(content)
    os.utime(victims, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (finished.folder / CELLS / f"{DIA}.parquet").unlink()
    finished.snakemake("--configfile", config)
    assert "3 of 3 cells" in (finished.folder / "results/faults/tables/scenarios.md").read_text()


def test_a_locked_database_stops_tracking_alone(finished: Workplace) -> None:
    config = finished.folder / "config.yaml"
    folder = finished.folder / "results/faults"
    before = written(finished)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.execute("BEGIN EXCLUSIVE")
        (folder / "tables/scenarios.md").unlink()
        (folder / "tracking.json").unlink()
        printed = finished.snakemake("--configfile", config, status=1)
        assert (
            "dia sync: error: cannot write to the tracking store sqlite:///results/faults/mlflow.db"
            in printed
        )
        assert "database is locked" in printed
        assert "the results are complete without it, sync again when it is back" in printed
        assert (folder / "tables/scenarios.md").exists()
    assert finished.planned("--configfile", config).keys() <= {"track", "all", "total"}
    finished.snakemake("--configfile", config)
    assert written(finished) == before
    tracked = json.loads((folder / "tracking.json").read_text())
    assert (tracked["experiment"], tracked["runs"]) == ("faults", 3)


def test_no_password_reaches_the_console_or_a_file(finished: Workplace) -> None:
    """In a config it is refused; of the environment nothing shows, also where the server cannot be reached."""
    cells, secret = mapping(grid("quick", "ig", "wiig", "dia")), "s3cr3t"
    address = f"http://bob:{secret}@127.0.0.1:9"
    printed = finished.snakemake(
        "--configfile", finished.config(cells | {"tracking": {"uri": address}}), status=1
    )
    assert "a password does not belong here" in printed and "MLFLOW_TRACKING_PASSWORD" in printed
    config = finished.config(cells)
    variables = {"MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    printed += finished.snakemake("--forcerun", "track", "--configfile", config, status=1, **variables)
    assert "dia sync: error: cannot write to the tracking store http://bob:...@127.0.0.1:9: " in printed
    assert secret not in printed
    files = [path for path in finished.folder.rglob("*") if path.is_file()]
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
    assert any(path.is_relative_to(finished.folder / ".snakemake" / "log") for path in files)
    finished.snakemake("--configfile", config)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of an MLflow server, and what starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri, processes = f"http://127.0.0.1:{port}", list["subprocess.Popen[bytes]"]()

    def up() -> None:
        store = [
            f"--backend-store-uri=sqlite:///{tmp_path}/server.db",
            f"--artifacts-destination={tmp_path}/store",
        ]
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host=127.0.0.1",
            f"--port={port}",
            "--workers=1",
        ]
        with (tmp_path / "server.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [*command, *store], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            )

        def answers() -> bool:
            with contextlib.suppress(OSError):
                return bool(urllib.request.urlopen(f"{uri}/health", timeout=2).status == 200)
            return False

        wait_for(answers, "the MLflow server", 180)

    yield uri, up
    for process in processes:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def test_a_server_that_is_down_is_caught_up_with_later(
    finished: Workplace, server: tuple[str, Callable[[], None]]
) -> None:
    """The science succeeds without the server; once it is up, one `snakemake` more brings all runs, searchable."""
    from mlflow import MlflowClient

    uri, up = server
    cells = mapping(grid("quick", "ig", "wiig", "dia"))
    config = finished.config(cells | {"tracking": {"uri": uri, "experiment": "night"}})
    before = written(finished)
    printed = finished.snakemake("--configfile", config, status=1)
    assert f"dia sync: error: cannot write to the tracking store {uri}" in printed
    assert written(finished) == before
    assert "3 of 3 cells" in (finished.folder / "results/faults/tables/scenarios.md").read_text()

    up()
    printed = finished.snakemake("--configfile", config)
    assert "rule attack" not in printed and "rule track" in printed
    assert written(finished) == before
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("night")
    assert experiment is not None
    found = client.search_runs(
        [experiment.experiment_id],
        "params.attack = 'dia' and params.dropout_rate = '0.5' and params.dataset = 'mnist' and metrics.mse < 1"
        " and params.scenario = 'quick' and params.model = 'mlp' and params.seed = '0'",
    )
    assert len(found) == 1
    run = found[0]
    path = finished.folder / run.data.tags["dia.path"]
    assert path == finished.folder / CELLS / f"{DIA}.parquet"
    assert run.data.tags["dia.cell_id"] == DIA == pq.read_table(path)["cell_id"][0].as_py()
    assert len(client.get_metric_history(run.info.run_id, "curves/total_loss")) > 1
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["reconstructions.png"]
    assert len(client.search_runs([experiment.experiment_id])) == 3
    picture = client.download_artifacts(run.info.run_id, "reconstructions.png", str(finished.folder))
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
