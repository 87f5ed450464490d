"""A folder in which Snakemake runs this repository's workflow, as a user would start it."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Workplace:
    """A folder in which Snakemake runs this repository's workflow."""

    folder: Path

    def snakemake(self, *arguments: str | Path, status: int = 0, **variables: str) -> str:
        """Run Snakemake and return all that it prints.

        Args:
            arguments: Targets first: ``--configfile`` takes every word that follows.
            status: The expected exit status.
            variables: Environment variables to set.
        """
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--directory", str(self.folder), *map(str, arguments)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        environment |= variables
        done = subprocess.run(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def planned(self, *arguments: str | Path) -> dict[str, int]:
        """The number of jobs of each rule that a run would start."""
        printed = self.snakemake("-n", *arguments)
        table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)\ntotal ", printed, re.MULTILINE | re.DOTALL)
        if table is None:
            assert "Nothing to be done" in printed, printed
            return {}
        return {rule: int(count) for rule, count in (line.split() for line in table.group(1).splitlines())}

    def config(self, mapping: dict[str, Any]) -> Path:
        """Write a config file."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(mapping))
        return path
