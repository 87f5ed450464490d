"""The workflow as a module of another one, with a config of its own; and what others read about it."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.workplace import ROOT, Workplace

SNAKEFILE = """
configfile: "own.yaml"


module dia:
    snakefile:
        {snakefile}
    config:
        config["dia"]


use rule * from dia as dia_*


rule everything:
    default_target: True
    input:
        rules.dia_all.input,
    output:
        "done.txt",
    shell:
        "touch {{output}}"
"""


def embed(workplace: Workplace, test_config: dict[str, Any], snakefile: str) -> None:
    """Make a workflow that runs one cell, three tables, one of them its own, and a figure through the module."""
    folder = workplace.folder
    test_config |= {
        "name": "embedded",
        "tables": ["dropout", "authors_released", "own"],
        "figures": ["rates"],
    }
    del test_config["grids"][1]
    test_config["grids"][0]["dropout_rates"] = ["0.5"]
    test_config["grids"][0]["attacks"] = ["ig"]
    (folder / "own.yaml").write_text(yaml.safe_dump({"dia": test_config, "other": 1}))
    # A table of the importing workflow's own, found in its folder.
    (folder / "config" / "tables").mkdir(parents=True)
    table = (ROOT / "config" / "tables" / "ig.yaml").read_text().replace("Effect of dropout", "Our own table")
    (folder / "config" / "tables" / "own.yaml").write_text(table)
    (folder / "Snakefile").write_text(SNAKEFILE.format(snakefile=snakefile))


def check(folder: Path) -> None:
    assert (folder / "done.txt").exists()
    tables = folder / "results" / "embedded" / "tables"
    assert "1 of 1 cells" in (tables / "dropout.md").read_text()
    assert "Our own table" in (tables / "own.md").read_text()
    assert (folder / "results/embedded/figures/rates/default.png").exists()
    assert not (folder / "results/quickstart").exists()


@pytest.fixture
def on_github(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> str:
    """The workflow of this checkout, without the package, as github.com/someone/dia: Git reads a local repository."""
    source = workplace.folder / "source"
    for name in ("workflow", "config"):
        shutil.copytree(ROOT / name, source / name)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "all"], ["tag", "v1"]):
        subprocess.run([*git, *command], cwd=source, check=True)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{source.as_uri()}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/someone/dia")
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(workplace.folder / "cache"))
    return 'github("someone/dia", path="workflow/Snakefile", tag="v1")'


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_another_workflow_runs_it_as_a_module_with_its_own_config(
    workplace: Workplace, test_config: dict[str, Any], snakefile: str
) -> None:
    embed(workplace, test_config, f'"{ROOT / snakefile}"')
    workplace.snakemake("--snakefile", workplace.folder / "Snakefile")
    check(workplace.folder)


def test_another_workflow_imports_it_from_a_git_host(
    workplace: Workplace, test_config: dict[str, Any], on_github: str
) -> None:
    embed(workplace, test_config, on_github)
    arguments = ("--snakefile", workplace.folder / "Snakefile")
    workplace.snakemake(*arguments)
    check(workplace.folder)
    assert not workplace.planned(*arguments), "what was fetched must look the same the next time"


def test_without_the_package_it_says_what_to_install(
    workplace: Workplace, test_config: dict[str, Any], on_github: str
) -> None:
    embed(workplace, test_config, on_github)
    code = (
        "import sys; sys.modules['dia'] = None; from snakemake.cli import main; main()"  # as if not installed
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "-n"], cwd=workplace.folder, text=True, capture_output=True
    )
    assert done.returncode == 1
    assert f"the Python package dia is not installed for {sys.executable}" in done.stdout + done.stderr


def test_the_catalog_and_the_citation_are_what_their_readers_expect() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["report"] is True
    assert usage["software-stack-deployment"]["conda"] is True
    for needed in ("config/README.md", "config/config.yaml", "workflow/Snakefile", "workflow/envs/dia.yaml"):
        assert Path(ROOT, needed).exists()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "authors", "message", "version", "license"} <= set(citation)
    import dia

    assert citation["version"] == dia.__version__
    identifiers = {entry["value"] for entry in citation["preferred-citation"]["identifiers"]}
    assert identifiers == {"10.1609/aaai.v37i8.26163", "arXiv:2208.06163"}
