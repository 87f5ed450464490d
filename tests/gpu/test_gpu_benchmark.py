"""The command for the first person with a GPU runs whole: on the CPU, and on the pretend GPU."""

import importlib.util
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from gpu.fake_graph import fake_graphs
from gpu.pretend import pretend_gpu

from dia.errors import AttackError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SECTIONS = [
    "Machine",
    "Golden runs",
    "Cells, against the CPU",
    "Waiting, launches, TF32",
    "Speed and memory",
    "Verdict",
]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # for the modules beside it
    spec = importlib.util.spec_from_file_location("benchmarks_gpu", BENCHMARKS / "gpu.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmarks_gpu", module)
    spec.loader.exec_module(module)
    return module


def sections(page: Path) -> dict[str, str]:
    parts = page.read_text().split("\n## ")[1:]
    return {title: body for title, _, body in (part.partition("\n") for part in parts)}


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_it_runs_whole(device: str, command: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    with ExitStack() as stack:
        if device != "cpu":
            stack.enter_context(pretend_gpu())
            stack.enter_context(fake_graphs())
        status = command.main(["--device", device, "--quick", "--out", str(page)])
    found = sections(page)
    assert list(found) == SECTIONS
    assert status == 0, found["Verdict"]
    assert "Everything passed." in found["Verdict"]
    speed = next(line for line in found["Speed and memory"].splitlines() if line.startswith("| mlp"))
    _, _, oracle, eager, graph, *_ = (cell.strip() for cell in speed.split("|"))
    assert float(oracle.split()[0]) > 0 and float(eager.split()[0]) > 0
    if device == "cpu":
        assert graph.startswith("- (") and "the device is no GPU" in found["Speed and memory"]
    else:
        assert float(graph.split()[0]) > 0
        assert "launches per iteration" in found["Waiting, launches, TF32"]


def test_what_fails_is_on_the_page_and_in_the_exit_status(
    command: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    wrong = {"matching_distance": 2.0, "total_loss": 1.0, "mse": 1.0, "ssim": 1.0}
    monkeypatch.setattr(command, "run", lambda job, device, **how: [wrong | {"mse": len(device)}])
    monkeypatch.setattr(command, "habits", broken)
    monkeypatch.setattr(command, "select_device", lambda name: command.torch.device("cpu", 0))
    page = tmp_path / "page.md"
    assert command.main(["--quick", "--minutes", "0", "--out", str(page)]) == 1
    found = sections(page)
    assert "unspecified launch failure" in found["Waiting, launches, TF32"]
    assert "FAILED: Waiting, launches, TF32: RuntimeError" in found["Verdict"]
    assert "FAILED: parity of dia on mlp" in found["Verdict"]
    assert "left out, the time was over" in found["Speed and memory"]


def test_a_gpu_that_is_not_there_is_refused(command: ModuleType) -> None:
    with pytest.raises(AttackError, match="'cuda' was asked for"):
        command.main(["--quick"])


def test_predictions_are_of_models_and_ways_that_are_measured() -> None:
    rows = json.loads((BENCHMARKS / "gpu_predictions.json").read_text())["rows"]
    assert {row["model"] for row in rows} == {"mlp", "vit", "lenet", "resnet18"}
    for row in rows:
        assert 0 < row["both"] <= row["compiled"] <= row["eager"] < row["oracle"]
        assert row["graph"] <= row["eager"]
