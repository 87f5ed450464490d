"""What is known of a cell without a result."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from helpers import small_cells

from dia.execution import attempts
from dia.execution.attempts import Attempt, AttemptRecord, read_attempt

CELL = "default/mnist/mlp/p0.5/dia/seed0"


def attempt(**changes: object) -> Attempt:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    usual = dict(
        cell_id=CELL,
        attempt=1,
        host="node7",
        pid=1,
        job_id="4711",
        started_at=now,
        heartbeat_at=now,
        iteration=120,
    )
    return Attempt(**usual | changes)  # type: ignore[arg-type]


def test_an_attempt_is_on_disk_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    AttemptRecord(tmp_path / "a.json", CELL)
    found = read_attempt(tmp_path / "a.json")
    assert found is not None
    assert (found.cell_id, found.attempt, found.state, found.job_id) == (CELL, 1, "running", "4711")
    assert (found.host, found.pid, found.iteration) == (platform.node(), os.getpid(), 0)


def test_a_new_attempt_counts_on(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    AttemptRecord(path, CELL).end("failed", "out of luck")
    AttemptRecord(path, CELL)
    found = read_attempt(path)
    assert found is not None
    assert (found.attempt, found.state, found.error) == (2, "running", "")
    AttemptRecord(path, CELL.replace("seed0", "seed1"))
    found = read_attempt(path)
    assert found is not None and found.attempt == 1


def test_the_heartbeat_is_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> float:
        raise AssertionError("a device is asked for its loss only when it is written")

    path = tmp_path / "a.json"
    record = AttemptRecord(path, CELL)
    record.heartbeat(1, 8, never)
    assert (
        json.loads(path.read_text())["iteration"] == 0
    )  # the beginning was written less than half a minute ago
    monkeypatch.setattr(attempts, "HEARTBEAT_SECONDS", 0.0)
    record.heartbeat(2, 7, lambda: 0.25)
    assert json.loads(path.read_text())["iteration"] == 2
    assert json.loads(path.read_text())["victims_left"] == 7
    assert json.loads(path.read_text())["loss"] == 0.25
    record.heartbeat(3, 7, lambda: float("inf"))
    assert json.loads(path.read_text())["loss"] is None


def test_the_loss_is_the_median_best_of_the_iterations_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "HEARTBEAT_SECONDS", 0.0)
    record = AttemptRecord(tmp_path / "a.json", CELL)
    job = small_cells.make_job("dia", victims=3, max_iterations=6, history_points=6)
    rows = small_cells.run(job, "cpu", record=record)
    said = record.attempt
    assert 0 < said.iteration < 6 and said.victims_left == 3
    best = [min(row["history_total_loss"][: said.iteration]) for row in rows]
    assert said.loss == pytest.approx(sorted(best)[1], rel=1e-6)  # curves are in float32


def test_kill_9_leaves_the_last_heartbeat(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    program = (
        "import os, sys, pathlib; from dia.execution import attempts; attempts.HEARTBEAT_SECONDS = 0;"
        f"r = attempts.AttemptRecord(pathlib.Path(sys.argv[1]), {CELL!r}); r.heartbeat(41, 3, float);"
        "os.kill(os.getpid(), 9)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "SLURM_JOB_ID"}
    assert subprocess.run([sys.executable, "-c", program, str(path)], env=environment).returncode == -9
    found = read_attempt(path)
    assert found is not None
    assert (
        f"died without a word on {platform.node()} after iteration 41 (last heard of 20" in found.describe()
    )
    assert "killed, out of memory, or the node failed" in found.describe()


def test_in_words() -> None:
    assert attempt().describe() == "running on node7, job 4711, iteration 120"
    assert attempt(job_id="").describe() == "running on node7, iteration 120"
    failed = attempt(state="failed", error="AttackError: the loss of victim 0003 is not finite")
    assert failed.describe() == (
        "failed on node7, job 4711 at iteration 120: AttackError: the loss of victim 0003 is not finite"
    )
    silent = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="seconds")
    assert "died without a word on node7, job 4711" in attempt(heartbeat_at=silent).describe()
    done = attempt(state="done")
    assert done.describe() == "done on node7, job 4711, but its result file is gone"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cell_id": 1}', "\x00\x01"])
def test_a_damaged_record_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert read_attempt(tmp_path / "a.json") is None
    assert read_attempt(tmp_path / "b.json") is None


def test_a_record_that_cannot_be_written_does_not_stop_the_attack(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    record = AttemptRecord(tmp_path / "file" / "a.json", CELL)
    record.end("done")
    assert record.attempt.state == "done"
