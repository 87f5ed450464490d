"""Files that people and services look for in a repository: citation, changelog, CI, workflow catalogue."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import dia

ROOT = Path(__file__).parents[3]


def read(name: str) -> Any:
    """A YAML file of the repository."""
    return yaml.safe_load((ROOT / name).read_text())


def test_the_citation_is_of_this_version_and_of_the_published_paper() -> None:
    citation = read("CITATION.cff")
    assert citation["version"] == dia.__version__
    paper = citation["preferred-citation"]
    assert paper["doi"] == "10.1609/aaai.v37i8.26163"
    assert (paper["volume"], paper["issue"], paper["start"], paper["end"]) == (37, 8, 9733, 9741)


def test_the_changelog_has_this_version() -> None:
    assert f"\n## {dia.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_hosted_ci_runs_what_everybody_runs() -> None:
    jobs = read(".github/workflows/ci.yml")["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert len(commands) == 1 and ".ci/run" in commands[0]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    targets = re.findall(r"\bmake ([a-z-]+)", (ROOT / ".ci" / "run").read_text())
    makefile = (ROOT / "Makefile").read_text()
    assert {"check", "docs", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_commits_are_checked_by_the_linters_of_make_check() -> None:
    hooks = {hook["id"] for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert hooks == {"ruff-check", "ruff-format", "snakefmt", "codespell"}
    makefile = (ROOT / "Makefile").read_text()
    for command in ("ruff check", "ruff format", "snakefmt", "codespell"):
        assert f"$(BIN)/{command}" in makefile
    assert "codespell" in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda p: p.stem
)
def test_issue_templates_have_what_the_host_demands(path: Path) -> None:
    template = yaml.safe_load(path.read_text())
    assert template["name"] and template["description"]
    ids = [field["id"] for field in template["body"]]
    assert len(set(ids)) == len(ids) and any(
        f.get("validations", {}).get("required") for f in template["body"]
    )


def test_the_snakemake_workflow_catalogue_takes_it() -> None:
    """Its conditions for standardised usage: https://snakemake.github.io/snakemake-workflow-catalog/docs/catalog.html."""
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme and "workflow" in readme
    assert (ROOT / "workflow" / "Snakefile").is_file() and (ROOT / "LICENSE").is_file()
    assert "snakemake" in (ROOT / "config" / "README.md").read_text()
    usage = read(".snakemake-workflow-catalog.yml")["usage"]
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    software = usage["software-stack-deployment"]
    assert set(software) == {"conda", "apptainer", "apptainer+conda"} and software["conda"] is True
    assert usage["report"] is True and "report:" in (ROOT / "workflow" / "Snakefile").read_text()
    for rules in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        for environment in re.findall(r'conda:\n\s+"(.+)"', rules.read_text()):
            assert (rules.parent / environment).is_file()
