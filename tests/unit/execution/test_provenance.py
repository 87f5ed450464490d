"""Commit and the other provenance columns."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from dia.execution.provenance import (
    git_commit,
    peak_memory_mb,
    processor_name,
    provenance,
)
from dia.results.columns import COLUMNS


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=n@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_git_commit_follows_the_package(tmp_path: Path) -> None:
    package = tmp_path / "checkout" / "pkg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("X = 1\n")
    assert git_commit(package) == "unknown"

    git(tmp_path / "checkout", "init", "-q")
    git_commit.cache_clear()
    assert git_commit(package) == "unknown"  # inside a repository that does not track it

    git(tmp_path / "checkout", "add", ".")
    git(tmp_path / "checkout", "commit", "-q", "-m", "first")
    commit = git(tmp_path / "checkout", "rev-parse", "HEAD")
    git_commit.cache_clear()
    assert git_commit(package) == commit

    (tmp_path / "checkout" / "notes.txt").write_text("not the package\n")
    git_commit.cache_clear()
    assert git_commit(package) == commit

    (package / "new.py").write_text("Y = 2\n")
    git_commit.cache_clear()
    assert git_commit(package) == f"{commit}-dirty"


def test_git_variables_of_a_hook_do_not_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    git_commit.cache_clear()
    with_variable = git_commit()
    monkeypatch.delenv("GIT_DIR")
    git_commit.cache_clear()
    assert with_variable == git_commit()


def test_provenance_fills_its_columns() -> None:
    torch = SimpleNamespace(__version__="2.13.0+cpu")
    before = datetime.now(UTC)
    columns = provenance(torch=torch, device="cpu", threads=3)  # type: ignore[arg-type]
    known = {c.name for c in COLUMNS if c.group == "provenance"} - {
        "victims_per_chunk",
        "victims_per_chunk_setting",
        "compiled",
        "compile_setting",
        "compile_fallback",
        "cuda_graph",
        "cuda_graph_fallback",
        "peak_memory_mb",
    }
    assert set(columns) == known
    assert columns["torch_version"] == "2.13.0+cpu"
    assert (columns["device"], columns["threads"]) == ("cpu", 3)
    assert columns["device_name"] == processor_name() != ""
    started = datetime.fromisoformat(columns["started_at"])
    assert -2 < (started - before).total_seconds() < 60


def test_the_name_and_memory_of_a_gpu_are_its_own() -> None:
    cuda = SimpleNamespace(get_device_name=lambda d: f"name of {d}", max_memory_allocated=lambda d: 3 * 2**20)
    torch = SimpleNamespace(__version__="2", cuda=cuda)
    columns = provenance(torch=torch, device="cuda:1", threads=1)  # type: ignore[arg-type]
    assert (columns["device"], columns["device_name"]) == ("cuda", "name of cuda:1")
    assert peak_memory_mb(torch, "cuda:1") == 3.0  # type: ignore[arg-type]
    assert 5 < peak_memory_mb(torch, "cpu") < 2**20  # type: ignore[arg-type]
