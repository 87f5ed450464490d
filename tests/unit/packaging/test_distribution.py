"""The distribution: names, bounds, and what a wheel holds."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import tables

import dia
from dia.cli import main
from dia.utils.extras import DISTRIBUTION, WORKFLOW

ROOT = Path(__file__).parents[3]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {"pyyaml": "yaml", "pillow": "PIL", "matplotlib-base": "matplotlib", "pytorch": "torch"}
"""Package -> its module, where the names differ."""


def bounds(requirements: list[str]) -> dict[str, str]:
    """Module -> bounds, without blanks."""
    split = (re.match(r"([\w-]+)(?:\[\w+\])? *(.*)", line) for line in requirements)
    return {MODULES.get(m[1], m[1]): m[2].replace(" ", "") for m in split if m}


def imported(folder: Path) -> set[str]:
    """Top-level modules that are imported anywhere below a folder."""
    names = set[str]()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.partition(".")[0])
    return names


def test_the_name_is_not_that_of_another_project() -> None:
    assert PROJECT["name"] == DISTRIBUTION != "dia"
    assert PROJECT["scripts"] == {"dia": "dia.cli:main"}


def test_every_import_is_declared_and_every_declared_package_imported() -> None:
    base, workflow = (
        bounds(part) for part in (PROJECT["dependencies"], PROJECT["optional-dependencies"]["workflow"])
    )
    # pydantic_core is a part of pydantic; Snakemake is imported by the workflow's own files, which name its executor.
    third_party = imported(ROOT / "dia") - set(sys.stdlib_module_names) - {"dia", "pydantic_core"}
    assert third_party | {"snakemake"} == base.keys() | set(WORKFLOW)
    assert workflow.keys() - {"snakemake-executor-plugin-slurm"} == set(WORKFLOW)


def test_conda_has_the_same_bounds() -> None:
    conda = yaml.safe_load((ROOT / "workflow" / "envs" / "dia.yaml").read_text())["dependencies"]
    extras = PROJECT["optional-dependencies"]
    expected = bounds([*PROJECT["dependencies"], *extras["workflow"]])
    assert {name: given for name, given in bounds(conda).items() if name != "python"} == {
        name: given for name, given in expected.items() if not name.startswith("snakemake")
    }


def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of = tables.config()
    (tmp_path / "config.json").write_text(of.identity())
    rows = tables.results(tmp_path, of)
    for name in [n for n in sys.modules if n.startswith(("pandas", "dia.reporting"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pandas", None)
    command = ["tables", "--config", str(tmp_path / "config.json"), "--results", str(rows)]
    assert main([*command, "--table", str(tables.DROPOUT), "--out", "y.md"]) == 1
    assert (
        "needs the Python package pandas: pip install 'dropout-inversion-attack[workflow]'"
        in capsys.readouterr().err
    )


def test_the_wheel_holds_the_package_and_its_data(tmp_path: Path) -> None:
    build = f"import setuptools.build_meta as b; print(b.build_wheel({str(tmp_path)!r}))"
    copy = tmp_path / "copy"
    files = subprocess.run(
        ["git", "ls-files", "-z", "dia", "pyproject.toml", "README.md", "LICENSE"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    files = [name for name in files if name and (ROOT / name).exists()]
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"dropout_inversion_attack-{dia.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {name for name in files if name.startswith("dia/") and not name.endswith("README.md")}
    assert wanted <= names and "dia/datasets/data/README.md" in names
    assert not {name for name in names if name.startswith(("tests", "workflow", "docs"))}
