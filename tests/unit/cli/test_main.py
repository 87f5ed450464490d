"""The command line as a whole: closed pipes, logs that cannot be written, places that cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import result_rows
from helpers.configs import BASE

from dia.cli import main
from dia.errors import StorageError
from dia.utils.files import check_writable

ROOT = Path(__file__).parents[3]


def shell(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a script in which ``$DIA`` is the command line."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DIA": f"{sys.executable} -m dia"}
    command = ["bash", "-c", f"set -o pipefail; {script}"]
    return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)


def test_who_reads_the_output_may_stop(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(BASE))
    for verb in ("status", "cells"):
        done = shell(f"$DIA {verb} --config config.yaml | head -n 0", tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (141, "", "")
    done = shell("$DIA status --config config.yaml > /dev/full", tmp_path)
    assert done.returncode == 1 and "No space left on device" in done.stderr


def test_an_error_reaches_the_console_where_the_log_is_full(tmp_path: Path) -> None:
    """As the workflow runs its commands."""
    redirected = "exec 3>&2; export DIA_CONSOLE_FD=3; $DIA collect --job-list absent --out x > /dev/full 2>&1"
    done = shell(redirected, tmp_path)
    assert done.returncode == 1
    assert "dia collect: error: cannot read the job list absent" in done.stderr
    assert "(the log could not be written: " in done.stderr and "No space left on device" in done.stderr
    prefix = (ROOT / "workflow" / "rules" / "common.smk").read_text()
    assert "exec 3>&2; export DIA_CONSOLE_FD=3; " in prefix


def test_a_place_is_tried_before_the_attack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    job = result_rows.job(result_rows.cell()).canonical_json()
    command = ["attack", "--job", job, "--victims", str(tmp_path / "absent.npz")]
    places = {"--out": tmp_path / "file" / "x.parquet", "--checkpoint": tmp_path / "file" / "x.npz"}
    for option, path in places.items():
        others = [word for name in places if name != option for word in (name, str(tmp_path / "good"))]
        assert main([*command, option, str(path), *others]) == 1
        printed = capsys.readouterr().err
        assert f"cannot write {path}: Not a directory; nothing was computed yet" in printed
        assert "absent" not in printed  # not even the victims were read
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_trying_a_place_leaves_nothing_and_names_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "a" / "x.parquet"
    check_writable(kept)
    kept.write_text("old")
    check_writable(kept)
    assert kept.read_text() == "old" and os.listdir(tmp_path / "a") == ["x.parquet"]
    with pytest.raises(StorageError, match="a: Is a directory"):
        check_writable(tmp_path / "a")
    for number, words in (
        (28, "No space left on device"),
        (30, "Read-only file system"),
        (13, "Permission denied"),
    ):

        def fail(self: Path, content: bytes, number: int = number) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(Path, "write_bytes", fail)
        with pytest.raises(StorageError, match=f"x.parquet: {words}; nothing was computed yet"):
            check_writable(kept)


def test_what_nobody_expected_is_told_without_passwords(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no answer from http://bob:s3cr3t@host")

    monkeypatch.setattr("dia.config.config.Config.from_file", fail)
    assert main(["status"]) == 1
    printed = capsys.readouterr().err
    assert "RuntimeError: no answer from http://bob:...@host" in printed and "s3cr3t" not in printed

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dia.config.config.Config.from_file", stop)
    assert main(["status"]) == 130
    assert capsys.readouterr().err == "dia status: interrupted\n"


def test_make_ui_says_what_writes_the_database() -> None:
    done = subprocess.run(
        ["make", "-o", ".venv/user.stamp", "ui", "NAME=absent"], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 2
    assert (
        "results/absent/mlflow.db is not there; this writes it: .venv/bin/snakemake --forcerun track"
        in done.stderr
    )
