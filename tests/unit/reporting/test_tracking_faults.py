"""Faults of tracking: killed while the store is set up, a missing driver, passwords."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import result_rows

from dia.cli import main
from dia.errors import TrackingError
from dia.reporting.tracking.store import tracking_client
from dia.reporting.tracking.sync import SyncSummary, sync
from dia.results.job_list import job_list_text

SECRET = "s3cr3t"

KILLED = """
import os, signal, sys
import mlflow, sqlalchemy
from mlflow.store.tracking import sqlalchemy_store
from dia.reporting.tracking.store import tracking_client

def dies(uri, statement, number):
    '''Die in a process of its own at a statement of the set-up; 0: when the file is to be moved.'''
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    count = 0
    def kill(*arguments):
        nonlocal count
        count += 1
        if count == statement:
            os.kill(os.getpid(), number)
    if statement:
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", kill)
    else:
        os.replace = lambda *arguments: os.kill(os.getpid(), number)
    try:
        with tracking_client(uri):
            os._exit(0)
    except KeyboardInterrupt:
        os._exit(3)

folder = sys.argv[1]
for number in (signal.SIGKILL, signal.SIGINT):
    for statement in (1, 20, 150, 0):
        uri = f"sqlite:///{folder}/{number}-{statement}.db"
        print(dies(uri, statement, number) not in (0,), os.path.exists(uri.removeprefix("sqlite:///")))
        with tracking_client(uri) as client:
            client.create_experiment("works")
print(*sorted(name for name in os.listdir(folder) if "part" in name))
"""


def test_a_store_whose_set_up_was_killed_is_set_up_again(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout == "True False\n" * 8 + "\n"
    )  # died, and left no file by the store's name, nor beside it


def test_a_store_on_a_full_disk_is_set_up_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.tracking import sqlalchemy_store
    from sqlalchemy.exc import OperationalError

    def full(*arguments: object) -> None:
        Path(str(arguments[1]).removeprefix("sqlite:///")).write_bytes(b"half")
        raise OperationalError("CREATE TABLE", {}, Exception("database or disk is full"))

    pair, uri = result_rows.made(tmp_path, result_rows.cell()), f"sqlite:///{tmp_path / 'mlflow.db'}"
    with monkeypatch.context() as patch:
        patch.setattr(sqlalchemy_store.SqlAlchemyStore, "__init__", full)
        with pytest.raises(
            TrackingError, match=r"database or disk is full.*; the results are complete without it"
        ):
            sync([pair], uri=uri, experiment="x")
    assert not list(tmp_path.glob("*.db")) and not list(tmp_path.glob(".*.part*"))
    assert sync([pair], uri=uri, experiment="x") == SyncSummary(added=1)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (f"http://bob:{SECRET}@127.0.0.1:9/", r"http://bob:\.\.\.@127\.0\.0\.1:9/: .*refused"),
        (f"http://127.0.0.1:9/?token={SECRET}", r"http://127\.0\.0\.1:9/\?token=\.\.\. "),
        (f"foo://bob:{SECRET}@host", r"foo://bob:\.\.\.@host: "),
        (f"http://bob:{SECRET}@[bad", r"http://bob:\.\.\.@\[bad: "),
        (
            f"postgresql://bob:{SECRET}@127.0.0.1:9/x",
            r"needs the Python package psycopg2: pip install psycopg2-binary",
        ),
        (f"postgresql://bob:{SECRET}@127.0.0.1:port/x", r"postgresql://bob:\.\.\.@127"),
    ],
)
def test_no_password_of_the_environment_is_shown(
    uri: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    caplog.set_level(logging.INFO)
    axes = {
        "datasets": ["mnist"],
        "models": ["mlp"],
        "dropout_rates": ["0.50"],
        "attacks": ["dia"],
        "seeds": [0],
    }
    dataset = {"mnist": {"source": "bundled-mnist", "images": 16}}
    Path("config.yaml").write_text(yaml.safe_dump({"name": "x", "datasets": dataset, "grids": [axes]}))
    Path("cells.jsonl").write_text(job_list_text([result_rows.made(tmp_path, result_rows.cell())]))
    command = ["sync", "--config", "config.yaml", "--job-list", "cells.jsonl", "--out", "tracking.json"]
    assert main(command) == 1
    printed = "".join(capfd.readouterr())
    assert "Traceback" not in printed
    with pytest.raises(TrackingError, match=message) as caught, tracking_client(uri) as client:
        client.search_experiments()
    assert caught.value.__cause__ is None
    assert SECRET not in printed + str(caught.value) + caplog.text + "".join(capfd.readouterr())
    assert not Path("tracking.json").exists()


def test_a_password_in_the_command_line_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config: dict[str, Any] = {"name": "x", "datasets": {"m": {"source": "bundled-mnist", "images": 16}}}
    config["scenarios"] = {"default": {"victims": 2}}
    axes = {"datasets": ["m"], "models": ["mlp"], "dropout_rates": ["0"], "attacks": ["ig"], "seeds": [0]}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config | {"grids": [axes]}))
    command = [
        "sync",
        "--config",
        str(path),
        "--job-list",
        "absent",
        "--uri",
        f"http://bob:{SECRET}@127.0.0.1:9/",
    ]
    assert main(command) == 1
    printed = capsys.readouterr().err
    assert "--uri: a password does not belong here" in printed and SECRET not in printed
