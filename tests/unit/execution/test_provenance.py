"""Commit, fingerprint and the other provenance columns."""

import ast
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from dia.execution.provenance import (
    AFTER_THE_CELL,
    PACKAGE,
    code_fingerprint,
    git_commit,
    peak_memory_mb,
    processor_name,
    provenance,
)
from dia.results import COLUMNS

SOURCE = '''
"""Doubles."""

FACTOR = 2
"""The factor."""


def double(x: int) -> int:
    """Twice x."""
    return FACTOR * x
'''


def fingerprint(folder: Path, source: str, name: str = "double.py") -> str:
    folder.mkdir(parents=True)
    (folder / name).write_text(source)
    return code_fingerprint(folder)


def test_comments_docstrings_and_layout_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    before = fingerprint(tmp_path / "a", SOURCE)
    assert len(before) == 64
    edited = SOURCE.replace('"""Twice x."""', '"""The double of x, at length."""  # why')
    edited = edited.replace('"""Doubles."""', "").replace(
        "return FACTOR * x", "return (\n        FACTOR * x\n    )"
    )
    assert edited != SOURCE
    assert fingerprint(tmp_path / "b", edited) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [("FACTOR = 2", "FACTOR = 3"), ("FACTOR = 2", "FACTOR = 2.0"), ("FACTOR * x", "x * FACTOR"), ("x", "y")],
)
def test_code_changes_the_fingerprint(tmp_path: Path, old: str, new: str) -> None:
    before = fingerprint(tmp_path / "a", SOURCE)
    assert fingerprint(tmp_path / "b", SOURCE.replace(old, new)) != before


def test_moving_or_adding_code_changes_the_fingerprint(tmp_path: Path) -> None:
    before = fingerprint(tmp_path / "a", SOURCE)
    assert fingerprint(tmp_path / "b", SOURCE, name="twice.py") != before
    (tmp_path / "a" / "more.py").write_text("X = 1\n")
    code_fingerprint.cache_clear()
    assert code_fingerprint(tmp_path / "a") != before


def test_what_comes_after_a_cell_is_not_part_of_the_fingerprint(tmp_path: Path) -> None:
    before = fingerprint(tmp_path / "a", SOURCE)
    for name in sorted(AFTER_THE_CELL):
        path = tmp_path / "a" / name if name.endswith(".py") else tmp_path / "a" / name / "x.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("X = 1\n")
    code_fingerprint.cache_clear()
    assert code_fingerprint(tmp_path / "a") == before


def test_nothing_that_determines_numbers_imports_what_is_left_out() -> None:
    left_out = {f"dia.{name.removesuffix('.py')}" for name in AFTER_THE_CELL}
    # These carry numbers on without changing them, so everybody may use them.
    left_out -= {
        "dia.utils.files",
        "dia.results",
        "dia.execution.provenance",
        "dia.execution.attempts",
        "dia.execution.signals",
    }
    for name in AFTER_THE_CELL:
        assert (PACKAGE / name).exists(), f"{name} was renamed: adapt AFTER_THE_CELL"
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] in AFTER_THE_CELL:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for module in modules:
                assert ".".join(module.split(".")[:2]) not in left_out, f"{path} imports {module}"


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
    known = {c.name for c in COLUMNS if c.group == "provenance"} - {"victims_per_chunk", "peak_memory_mb"}
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
