"""Old collected rows are not shown for a config that was edited since."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import result_rows

from dia.cli import main
from dia.config.config import Config
from dia.config.jobs import attack_job
from dia.results.cell_file import write_cell
from dia.results.collected import collect, read_results

TABLE = "config/tables/dropout.yaml"
MAPPING: dict[str, Any] = yaml.safe_load("""
name: made
datasets: {mnist: {source: bundled-mnist, images: 8}}
scenarios: {default: {victims: 2, max_iterations: 5}}
grids: [{datasets: [mnist], models: [mlp], dropout_rates: ["0.5"], attacks: [ig, dia], seeds: [0, 1]}]
""")
EDITS: dict[str, tuple[dict[str, Any], str]] = {
    "a setting": (
        {"scenarios": {"default": {"victims": 2, "max_iterations": 6, "learning_rate": 0.2}}},
        "made with other settings than the config has: max_iterations 5, learning_rate 0.1;",
    ),
    "a dataset": (
        {"datasets": {"mnist": {"source": "bundled-mnist", "images": 9}}},
        "than the config has: another definition of its dataset;",
    ),
    "a grid": (
        {"grids": [MAPPING["grids"][0] | {"seeds": [1]}]},
        "2 cells are not in the config, such as default/mnist/mlp/p0.5/ig/seed0; collect again",
    ),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collected")
    pairs, config = [], Config.load(MAPPING)
    for job in (attack_job(config, cell) for cell in config.cells):
        said = job.settings.model_dump(mode="json")
        pairs.append((job, folder / job.cell.path))
        write_cell(pairs[-1][1], result_rows.rows(job.cell, **said), job)
    collect(pairs, folder / "results.parquet")
    assert read_results(folder / "results.parquet")["job_sha256"].to_pylist()[::2] == [
        j.sha256 for j, _ in pairs
    ]
    return folder / "results.parquet"


@pytest.fixture(params=["tables", "figures", "summary"])
def verb(request: pytest.FixtureRequest, results: Path, tmp_path: Path) -> list[str]:
    """A command without its config; what it writes is ``tmp_path/out.*``."""
    return {
        "tables": ["tables", "--table", TABLE, "--out", f"{tmp_path}/out.md"],
        "figures": ["figures", "rates", "--out", f"{tmp_path}/out.png"],
        "summary": ["summary", "--out", f"{tmp_path}/out.html"],
    }[request.param] + ["--results", str(results), "--config", str(tmp_path / "config.yaml")]


@pytest.mark.parametrize("edit", EDITS)
def test_rows_of_other_jobs_are_refused_with_the_difference(
    verb: list[str], edit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = EDITS[edit]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(MAPPING | change))
    assert main(verb) != 0
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("out.*"))


@pytest.mark.parametrize(
    "change", [{}, {"grids": [MAPPING["grids"][0] | {"seeds": [0, 1, 2]}]}], ids=["same", "more"]
)
def test_rows_of_the_configs_jobs_are_shown_also_where_some_are_missing(
    verb: list[str], change: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(MAPPING | change))
    assert main(verb) == 0
    assert list(tmp_path.glob("out.*"))
