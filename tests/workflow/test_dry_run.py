"""Dry runs: planned jobs, and refusals before any job starts."""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.workplace import ROOT, Workplace


def test_lint_is_clean(workplace: Workplace) -> None:
    assert "in a good condition" in workplace.snakemake("--lint")


def test_quick_start_is_planned_when_no_config_is_given(workplace: Workplace) -> None:
    printed = workplace.snakemake("-n")
    assert "results/quickstart/cells/default/mnist/mlp/p0.75/dia/seed0.parquet" in printed
    planned = workplace.planned()
    assert (planned["attack"], planned["victims"], planned["all"]) == (19, 1, 1)


def test_another_config_takes_nothing_over_from_the_quick_start(workplace: Workplace) -> None:
    """Snakemake would merge configs key by key; here the absent `scenarios` has to be the default."""
    own = {
        "name": "own",
        "datasets": {"digits": {"source": "bundled-mnist", "images": 128}},
        "grids": [
            {
                "datasets": ["digits"],
                "models": ["mlp"],
                "dropout_rates": ["0.5"],
                "attacks": ["ig"],
                "seeds": [7],
            }
        ],
    }
    config = workplace.config(own)
    printed = workplace.snakemake("-n", "--printshellcmds", "--configfile", config)
    assert "quickstart" not in printed
    assert '"max_iterations":20000' in printed
    workplace.snakemake("list_cells", "--configfile", config)
    assert json.loads((workplace.folder / "results/own/config.json").read_text()) == own
    lines = (workplace.folder / "results/own/cells.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [
        "results/own/cells/default/digits/mlp/p0.5/ig/seed7.parquet"
    ]


def test_single_keys_on_the_command_line_change_the_quick_start(workplace: Workplace) -> None:
    printed = workplace.snakemake("-n", "--config", "name=other")
    assert "results/other/cells/default/mnist/mlp/p0.75/dia/seed0.parquet" in printed


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("nmae", 1, "unknown key 'nmae'; did you mean 'name'?"),
        ("scenarios", {"default": {"max_iteration": 1}}, "did you mean 'max_iterations'? allowed: "),
        ("grids", [], "grids: empty; give at least one value"),
    ],
)
def test_bad_configs_are_refused_before_any_job(
    workplace: Workplace, test_config: dict[str, Any], key: str, value: Any, message: str
) -> None:
    config = workplace.config(test_config | {key: value})
    printed = workplace.snakemake("--configfile", config, status=1)
    assert message in printed
    assert "config.yaml: 1 fault" in printed
    assert not (workplace.folder / "results").exists()


def test_an_unknown_figure_is_refused_before_any_job(
    workplace: Workplace, test_config: dict[str, Any]
) -> None:
    printed = workplace.snakemake(
        "--configfile", workplace.config(test_config | {"figures": ["rate"]}), status=1
    )
    assert "figures: unknown figure 'rate'; did you mean 'rates'?" in printed


def test_an_undeclared_table_is_refused_before_any_job(
    workplace: Workplace, test_config: dict[str, Any]
) -> None:
    printed = workplace.snakemake(
        "--configfile", workplace.config(test_config | {"tables": ["absent"]}), status=1
    )
    assert "tables: 'absent' is not declared: there is no config/tables/absent.yaml" in printed


def test_faults_of_all_tables_are_told_before_any_job(
    workplace: Workplace, test_config: dict[str, Any]
) -> None:
    folder = workplace.folder / "config" / "tables"
    folder.mkdir(parents=True)
    (folder / "one.yaml").write_text("title: One\nrows: [atack]\nmetrics: [{column: ssim, label: SSIM}]")
    (folder / "two.yaml").write_text("title: Two\ntitle: Three")
    config = workplace.config(test_config | {"tables": ["one", "two", "dropout"]})
    printed = workplace.snakemake("--configfile", config, status=1)
    assert "config/tables/one.yaml: 1 fault" in printed
    assert "rows[0] = 'atack': unknown axis 'atack'; did you mean 'attack'?" in printed
    assert "line 2, column 1: duplicate key 'title', already in line 1" in printed


def test_duplicate_keys_of_a_config_are_refused(workplace: Workplace, test_config: dict[str, Any]) -> None:
    """Snakemake itself takes the last one: a second block of grids would drop the cells of the first."""
    config = workplace.config(test_config)
    config.write_text(config.read_text() + "grids: []\n")
    printed = workplace.snakemake("-n", "--configfile", config, status=1)
    assert "duplicate key 'grids', already in line" in printed


def test_a_cell_outside_the_grids_is_refused_by_name(workplace: Workplace) -> None:
    printed = workplace.snakemake(
        "-n", "results/quickstart/cells/default/mnist/mlp/p0.3/ig/seed0.parquet", status=1
    )
    assert "default/mnist/mlp/p0.3/ig/seed0 is not a cell of the config 'quickstart'" in printed


def test_a_missing_source_file_is_refused_before_any_job(
    workplace: Workplace, test_config: dict[str, Any]
) -> None:
    test_config["datasets"]["mnist"] = {
        "source": "file", "path": "absent.npz", "num_classes": 10, "normalisation": "mnist"
    }  # fmt: skip
    printed = workplace.snakemake("--configfile", workplace.config(test_config), status=1)
    assert "Missing input files for rule victims" in printed
    assert "absent.npz" in printed


def dia_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``dia run`` in a folder that has this workflow, as a clone has it."""
    included = f'workflow.include("{ROOT}/workflow/Snakefile", overwrite_default_target=True)'
    (folder / "Snakefile").write_text(included)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dia", "run", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)


def test_dia_run_sums_up_a_dry_run_in_a_few_lines(workplace: Workplace, test_config: dict[str, Any]) -> None:
    workplace.config(test_config)
    done = dia_run(workplace.folder, "config.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(done.stdout) < 600 and re.fullmatch(r"Would run: .*\b8 attack, .*\.", lines[0])
    assert lines[1:] == [
        "No finished cell would be replaced.",
        "8 of 8 cells have no result yet. How long the rest takes is not known: no cell like it is done.",
    ]
    target = dia_run(workplace.folder, "config.yaml", "list_cells", "-n")
    assert target.stdout.splitlines()[0] == "Would run: 1 list_cells."


def test_dia_run_hands_targets_and_options_to_snakemake(
    workplace: Workplace, test_config: dict[str, Any]
) -> None:
    workplace.config(test_config)
    done = dia_run(workplace.folder, "config.yaml", "list_cells", "--cores", "1", "--quiet")
    assert done.returncode == 0, done.stderr
    assert len((workplace.folder / "results/test/cells.jsonl").read_text().splitlines()) == 8
    assert "the config absent.yaml is not there" in dia_run(workplace.folder, "absent.yaml").stderr


def planned_for(workplace: Workplace, config: Path) -> tuple[dict[str, int], float]:
    """The planned jobs, and the processor time that planning took: a busy machine is no reason to fail."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    start = used()
    planned = workplace.planned("--configfile", config)
    return planned, used() - start


def test_the_papers_grid_is_planned_in_seconds(workplace: Workplace) -> None:
    planned, seconds = planned_for(workplace, ROOT / "config" / "paper.yaml")
    assert (planned["attack"], planned["victims"]) == (540, 3)
    assert seconds < 20  # 4.4 measured


def test_ten_thousand_cells_are_planned_in_proportion(workplace: Workplace) -> None:
    paper = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())
    paper["grids"] = [paper["grids"][0] | {"models": ["mlp", "vit"], "seeds": list(range(167))}]
    planned, seconds = planned_for(workplace, workplace.config(paper))
    assert planned["attack"] == 10020
    assert seconds < 120  # 31 measured; growth with the square would take 1,500
