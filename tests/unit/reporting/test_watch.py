"""``dia status --watch``: a running grid on a terminal, in a log, and to its end; with a made-up clock."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import yaml
from helpers import result_rows
from rich.console import Console

from dia.cli import main
from dia.config.config import Config
from dia.execution import attempts
from dia.execution.attempts import SILENT_SECONDS, AttemptRecord
from dia.reporting import grid_watch
from dia.reporting.grid_watch import GridWatch, Look
from dia.reporting.status import CellStatus
from dia.reporting.watch_view import line, watch

NOW = time.time()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Six seeds of dia on mlp, none of them done."""
    monkeypatch.chdir(tmp_path)
    axes = {"datasets": ["mnist"], "models": ["mlp"], "dropout_rates": ["0.50"]}
    mapping = {
        "name": "night",
        "datasets": {"mnist": {"source": "bundled-mnist", "images": 16}},
        "scenarios": {"default": {"victims": 2}},
        "grids": [{**axes, "attacks": ["dia"], "seeds": list(range(6))}],
    }
    Path("config.yaml").write_text(yaml.safe_dump(mapping))
    return Config.from_file("config.yaml")


def finish(config: Config, number: int, seconds: float = 600, at: float = NOW) -> None:
    """A cell of two victims that took so many seconds and was written at a time."""
    cell = config.cells[number]
    path = result_rows.write(config.results / "cells", cell, seconds=seconds / 2)
    os.utime(path, (at, at))


def start(config: Config, number: int, iteration: int = 0, loss: float = inf) -> AttemptRecord:
    """A cell that runs, in this very process."""
    cell = config.cells[number]
    record = AttemptRecord(config.attempt_path(cell), cell.id)
    record.heartbeat(iteration, 2, lambda: loss)
    return record


@pytest.fixture(autouse=True)
def heartbeats_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "HEARTBEAT_SECONDS", 0.0)


class Clock:
    """Time that passes only while the watch sleeps; something may happen then, by the number of the sleep."""

    def __init__(self, *events: Callable[[], object]) -> None:
        self.time, self.events, self.slept = NOW, list(events), 0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept += 1
        if self.events:
            self.events.pop(0)()


def interrupt() -> None:
    raise KeyboardInterrupt


def log_of(config: Config, clock: Clock, interval: float = 60) -> tuple[int, list[str]]:
    """The exit status and the lines of a watch that is no terminal."""
    console = Console(file=io.StringIO())
    status = watch(config, interval, 1, console, clock.now, clock.sleep)
    return status, console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def screen(config: Config, clock: Clock, width: int = 80, height: int = 25) -> str:
    """What a terminal was sent until the watch was interrupted."""
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, width=width, height=height, color_system=None, _environ={}
    )
    with pytest.raises(KeyboardInterrupt):
        watch(config, 60, 1, console, clock.now, clock.sleep)
    return file.getvalue()


def test_a_log_has_a_line_per_look_until_all_is_done(config: Config) -> None:
    finish(config, 0, at=NOW - 600)
    finish(config, 1, at=NOW)
    start(config, 2, 10)
    clock = Clock(lambda: finish(config, 2), lambda: [finish(config, n) for n in (3, 4, 5)])
    status, lines = log_of(config, clock)
    assert (status, clock.slept, len(lines)) == (0, 2, 3)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW))
    # Two cells in twenty minutes; the running one has just begun, the other three take ten minutes each.
    assert lines[0].startswith(
        f"{stamp} night: 2/6 done, 1 running, 3 waiting; 6 cells/h in the last hour; end about "
    )
    assert lines[0].endswith("(in 40 min)")
    assert "3/6 done, 3 waiting; " in lines[1]
    assert "6/6 done; " in lines[2] and "end" not in lines[2]


def test_a_terminal_shows_iteration_and_loss_in_80_columns(config: Config) -> None:
    finish(config, 0)
    start(config, 1, 1200, 0.01234)
    start(config, 2)
    record = start(config, 3, 7, float("nan"))
    start(config, 4).end("failed", "AttackError: [a loss] is not finite " + "x" * 300)
    shown = screen(config, Clock(interrupt))
    most = config.settings(config.cells[1]).max_iterations
    rows = {row.split()[0]: row.split()[1:] for row in shown.splitlines() if row.strip()}
    assert rows[config.cells[1].id] == [f"1200/{most}", "0.0123", "2"]
    assert rows[config.cells[2].id] == []  # nothing is known yet
    assert rows[config.cells[3].id] == [f"7/{most}", "2"] and record.attempt.loss is None
    head = shown.splitlines()
    assert head[0].endswith("night: 1 of 6 cells done") and set(head[1].rstrip()) <= set("━╸╺")
    assert head[2:4] == ["3 running, 1 failed, 1 waiting", head[3]] and head[3].startswith("end about ")
    assert f"failed {config.cells[4].id}" in shown and "[a loss] is not finite" in shown
    lines = [row.lstrip("\r").replace("\x1b[2K", "") for row in shown.splitlines()]
    assert max(len(row) for row in lines if "\x1b" not in row) <= 80


def test_a_narrow_or_low_terminal_loses_no_name(config: Config) -> None:
    for number in range(5):
        start(config, number, 5, 0.5)
    start(config, 5).end("failed", "x")
    narrow = "".join(screen(config, Clock(interrupt), width=48).split())
    assert all(f"seed{number}" in narrow for number in range(6))
    low = screen(config, Clock(interrupt), height=12)
    assert sum(f"{cell.id} " in low for cell in config.cells[:5]) == 3
    assert "and 2 more running" in low and f"failed {config.cells[5].id}" in low


def test_the_live_view_is_drawn_again_after_each_look(config: Config) -> None:
    start(config, 0, 5, 0.5)
    shown = screen(config, Clock(lambda: start(config, 0, 6, 0.25), interrupt))
    up = shown.index("\x1b[1A")  # the cursor goes up over the first view, and the second takes its place
    assert shown.index(" 5/") < up < shown.index(" 6/") < shown.index("0.25")
    assert shown.rstrip().endswith("\x1b[?25h")  # the cursor is back after an interruption


def test_only_what_changed_is_read_again(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(name: str) -> None:
        before = getattr(grid_watch, name)
        monkeypatch.setattr(grid_watch, name, lambda *a, **k: read.append(name) or before(*a, **k))

    counted("status_of_file")
    counted("read_attempt")
    finish(config, 0)
    start(config, 1)
    grid = GridWatch(config)
    assert [status.state for status in grid.look(NOW).cells][:3] == ["done", "running", "missing"]
    assert read == ["status_of_file", "read_attempt"]
    grid.look(NOW)
    assert len(read) == 2
    start(config, 1, 30, 0.5)
    finish(config, 2)
    assert grid.look(NOW).cells[1].attempt.iteration == 30  # type: ignore[union-attr]
    assert read[2:] == ["read_attempt", "status_of_file"]
    config.cell_path(config.cells[0]).unlink()
    assert [status.state for status in grid.look(NOW).cells][:3] == ["missing", "running", "done"]


def test_a_process_that_is_gone_no_longer_runs(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record did not change: whether it runs is asked at each look."""
    start(config, 0, 30)
    grid = GridWatch(config)
    assert grid.look(NOW).cells[0].state == "running"
    monkeypatch.setattr(attempts.Attempt, "_process_exists", lambda self: False)
    assert grid.look(NOW).cells[0].state == "failed"


def test_nothing_but_failures_ends_the_watch_when_none_is_tried_again(config: Config) -> None:
    for number in range(5):
        finish(config, number)
    start(config, 5).end("failed", "AttackError: a loss is not finite")
    # A second try begins after a minute, and fails as well.
    again = Clock(lambda: start(config, 5), lambda: start(config, 5).end("failed", "out of luck"))
    status, lines = log_of(config, again)
    assert (status, again.slept) == (1, 2 + SILENT_SECONDS / 60)
    assert lines[-1].startswith(f"failed      {config.cells[5].id}: failed on ")
    assert lines[-1].endswith("out of luck (attempt 3)")


def test_cells_that_wait_are_waited_for(config: Config) -> None:
    for number in range(5):
        finish(config, number)
    start(config, 5).end("interrupted", "stopped by SIGTERM")
    clock = Clock(*[lambda: None] * 30, lambda: finish(config, 5))
    assert log_of(config, clock)[0] == 0
    assert clock.slept == 31


def done(seconds: float) -> CellStatus:
    return CellStatus(result_rows.cell(), "done", seconds=seconds, iterations=1)


def test_the_rate_counts_the_last_hour_else_the_last_day() -> None:
    def rate(*ages: float, seconds: float = 600) -> tuple[float, str] | None:
        return Look(NOW, [done(seconds) for _ in ages], [NOW - age for age in ages]).cells_per_hour()

    assert rate() is None and rate(5) is None
    assert rate(0, 600, 1200) == (pytest.approx(3 * 3600 / 1800), "hour")  # a young run: from its first start
    assert rate(0, 600, 1200, 90_000) == (pytest.approx(3 * 3600 / 1800), "hour")
    assert rate(100, 3500, 7000) == (pytest.approx(2.0), "hour")
    assert rate(100, 36_000, seconds=0) == (pytest.approx(2 * 3600 / 36_000), "day")
    assert rate(100_000, 200_000) is None


def test_the_end_counts_what_runs_at_a_time_and_what_has_run(config: Config) -> None:
    finish(config, 0, 600)
    running = start(config, 1).attempt
    look = GridWatch(config).look(NOW)
    begun = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(NOW - 200))
    two = replace(look.cells[1], attempt=replace(running, started_at=begun))
    look = replace(look, cells=[look.cells[0], two, *look.cells[2:]])
    assert look.seconds_to_end(1)[0] == pytest.approx(400 + 4 * 600, abs=1)
    assert look.seconds_to_end(4)[0] == pytest.approx((400 + 4 * 600) / 4, abs=1)
    assert look.seconds_to_end(100) == (600.0, 0)  # no sooner than the longest of them
    failed = replace(look, cells=[look.cells[0], *[replace(c, state="failed") for c in look.cells[1:]]])
    assert failed.seconds_to_end(1) == (None, 0)
    other = CellStatus(result_rows.cell(model="vit"), "missing", "not started")
    unknown = replace(look, cells=[look.cells[0], look.cells[2], other])
    assert unknown.seconds_to_end(1) == (600.0, 1)
    assert "; end after " in line(config, unknown, 1)


@pytest.mark.parametrize(("seconds", "rate"), [(2.5, "1,440"), (30, "120"), (321, "11.2")])
def test_rates_are_plain_numbers(config: Config, seconds: float, rate: str) -> None:
    """Two cells one after the other."""
    look = Look(NOW, [done(seconds)] * 2, [NOW, NOW - seconds])
    assert f"; {rate} cells/h in the last hour" in line(config, look, 1)


def test_nothing_done_nothing_known(config: Config) -> None:
    assert line(config, GridWatch(config).look(NOW), 1).endswith("0/6 done, 6 waiting; end not known yet")


def test_the_verb_in_a_pipe(config: Config) -> None:
    """All done: one line and status 0. A reader who has had enough ends it."""
    for number in range(6):
        finish(config, number)
    command = [sys.executable, "-m", "dia", "status", "--config", "config.yaml", "--watch"]
    whole = subprocess.run(command, capture_output=True, text=True)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert len(whole.stdout.splitlines()) == 1 and "night: 6/6 done" in whole.stdout
    config.cell_path(config.cells[0]).unlink()
    reading, writing = os.pipe()
    os.close(reading)
    closed = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (closed.returncode, closed.stderr) == (141, "")


def test_interrupted_by_the_user(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(GridWatch, "look", lambda *_: interrupt())
    assert main(["status", "--config", "config.yaml", "--watch", "5"]) == 130
    assert capsys.readouterr().err == "dia status: interrupted\n"


@pytest.mark.parametrize("seconds", ["0", "-3", "nan", "inf"])
def test_an_impossible_interval_is_refused(
    config: Config, capsys: pytest.CaptureFixture[str], seconds: str
) -> None:
    assert main(["status", "--config", "config.yaml", f"--watch={seconds}"]) == 1
    assert "it must be at least 1 seconds" in capsys.readouterr().err
