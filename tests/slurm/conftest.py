"""Snakemake runs on a real Slurm of one node, as a user would start them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cluster
import pytest
import yaml
from helpers.polling import wait_for

from dia.config.config import Config
from dia.jobs.cell import Cell

ROOT = Path(__file__).parents[2]
IMPATIENT = str(Path(__file__).with_name("fast_polling_snakemake.py"))
PATIENCE = 900  # seconds for one run of Snakemake, on a machine that is busy with other things
# Of the profile, only what this Slurm differs in: no accounting, and no reason to wait for it or for files.
HERE = (
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
    *("--latency-wait", "5", "--set-threads", "attack=1"),
)


@dataclass(frozen=True)
class Workplace:
    """A folder in which Snakemake runs this repository's workflow."""

    folder: Path
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def start(self, *arguments: str | Path, profile: str | None = "slurm") -> "subprocess.Popen[str]":
        """Start Snakemake; what it prints goes to ``<folder>/printed``."""
        chosen = [] if profile is None else ["--profile", profile, *HERE]
        command = [sys.executable, IMPATIENT, *chosen, "--directory", str(self.folder)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        with (self.folder / "printed").open("w") as printed:
            process = subprocess.Popen(
                [*command, *map(str, arguments)],
                cwd=ROOT,
                env=environment | {"OMP_NUM_THREADS": "1"},
                text=True,
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
        self.started.append(process)
        return process

    def snakemake(self, *arguments: str | Path, status: int = 0, profile: str | None = "slurm") -> str:
        """Run Snakemake and return all that it prints."""
        found = self.start(*arguments, profile=profile).wait(timeout=PATIENCE)
        printed = (self.folder / "printed").read_text()
        assert found == status, printed
        return printed

    def config(self, mapping: dict[str, Any]) -> Path:
        """Write a config file."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(mapping))
        return path

    def cell_file(self, config: Config, cell: Cell) -> Path:
        """The result file of a cell."""
        return self.folder / config.cell_path(cell)

    def attempt(self, config: Config, cell: Cell) -> dict[str, Any]:
        """The attempt record of a cell; empty while there is none."""
        try:
            found: dict[str, Any] = json.loads((self.folder / config.attempt_path(cell)).read_text())
        except FileNotFoundError:
            return {}
        return found

    def is_attacking(self, config: Config, cell: Cell) -> bool:
        """Tell whether a cell is past its preparations."""
        log = self.folder / config.results / "logs" / "attack" / f"{cell.id}.log"
        try:  # Snakemake removes the log of an earlier attempt
            return self.attempt(config, cell).get("state") == "running" and "dropout sites" in log.read_text()
        except FileNotFoundError:
            return False

    def attacking(self, config: Config, cell: Cell, attempt: int = 1) -> dict[str, Any]:
        """Wait until a cell is being attacked; its attempt record."""

        def begun() -> bool:
            return self.is_attacking(config, cell) and self.attempt(config, cell)["attempt"] == attempt

        wait_for(begun, f"{cell.id} to be attacked")
        return self.attempt(config, cell)

    def written(self, config: Config) -> dict[str, int]:
        """Time of writing of each cell that exists."""
        files = {cell.id: self.cell_file(config, cell) for cell in config.cells}
        return {cell: path.stat().st_mtime_ns for cell, path in files.items() if path.exists()}


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a cluster that is up."""
    if reason := cluster.lacking():
        pytest.skip(f"no Slurm here: {reason}")
    # Below /tmp rather than pytest's folder: paths of sockets must be short, and munge wants parents safe from others.
    folder = cluster.folder_of(os.getpid())
    cluster.up(folder)
    yield folder
    cluster.down(folder)


@pytest.fixture
def workplace(tmp_path: Path, slurm: Path) -> Iterator[Workplace]:
    """A fresh, empty workplace; a Snakemake that a failed test left behind is ended."""
    workplace = Workplace(tmp_path)
    yield workplace
    for process in workplace.started:
        process.kill()
        process.wait()
