"""The diffs that docs/extending.md shows: each applies to this checkout, is short, and works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "docs" / "examples"

ONE_CELL = """
from pathlib import Path
from dia.cli import main
from dia.config.config import Config
from dia.config.jobs import job_json
from dia.utils.canonical_json import canonical
from dia.results.cell_file import read_cell

def rows(dataset, settings, model="mlp", attack="ig"):
    axes = dict(datasets=["d"], models=[model], dropout_rates=["0.5"], attacks=[attack], seeds=[0])
    scenario = dict(victims=2, max_iterations=5, history_points=2) | settings
    config = Config.load(dict(name="x", datasets=dict(d=dataset), scenarios=dict(default=scenario), grids=[axes]))
    definition = canonical(config.dataset("d").model_dump(mode="json"))
    assert main(["victims", "--dataset-json", definition, "--name", "d", "--out", "d.npz"]) == 0
    job = job_json(config, config.cells[0])
    assert main(["attack", "--job", job, "--victims", "d.npz", "--out", "cell.parquet", "--device", "cpu"]) == 0
    return read_cell(Path("cell.parquet")).to_pylist()

digits = dict(source="bundled-mnist", images=4)
"""

PROOFS = {
    "dataset": """
found = rows(dict(source="stripes", images=20), {})
assert [row["labels"] for row in found] == [[0], [1]] and found[0]["source"] == "stripes"
""",
    "model": """
found = rows(digits, {}, model="shallow", attack="wiig")
assert len(found) == 2 and found[0]["model"] == "shallow" and not found[0]["notes"]
""",
    "attack": """
found = rows(digits, {}, attack="grey")
assert found[0]["history_mse"][0] < 0.7 * rows(digits, {}, attack="ig")[0]["history_mse"][0]
""",
    "defence": """
found = rows(digits, dict(defence_bfloat16=True))
assert found[0]["defence_bfloat16"] is True
assert found[0]["matching_distance"] != rows(digits, {})[0]["matching_distance"]
""",
    "table": """
from dia.reporting.tables.spec import TableSpec
spec = TableSpec.from_file(Path(__file__).parent / "config/tables/defences.yaml")
assert spec.columns == ("scenario",) and spec.metrics[1].interval == "wilson"
""",
}


def test_every_diff_is_shown_and_proved() -> None:
    patches = {path.stem for path in EXAMPLES.glob("*.patch")}
    assert patches == set(PROOFS)
    shown = (ROOT / "docs" / "extending.md").read_text()
    for name in patches:
        assert f"```diff\n{(EXAMPLES / f'{name}.patch').read_text()}```" in shown, (
            f"{name}.patch is not shown as it is"
        )


@pytest.mark.parametrize("name", sorted(PROOFS))
def test_the_diff_applies_and_works(name: str, tmp_path: Path) -> None:
    patch = EXAMPLES / f"{name}.patch"
    changed = [line for line in patch.read_text().splitlines() if re.match(r"[+-](?!\+\+ |-- )", line)]
    assert len(changed) < 40
    copy = tmp_path / "copy"
    for folder in ("dia", "config"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    # Outside of any repository, so that git takes the folder for the root.
    applied = subprocess.run(
        ["git", "apply", "--whitespace=error", str(patch)], cwd=copy, capture_output=True, text=True,
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path)},
    )  # fmt: skip
    assert applied.returncode == 0, applied.stderr
    (copy / "proof.py").write_text(ONE_CELL + PROOFS[name])
    done = subprocess.run(
        [sys.executable, str(copy / "proof.py")], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
