"""``examples/flower`` end to end: real clients over loopback, what they sent attacked from its files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'dropout-inversion-attack[flower]'")

EXAMPLE = Path(__file__).parents[2] / "examples" / "flower"


@pytest.fixture(scope="module")
def updates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a round of 16 clients with one local step and one with two leave behind."""
    folder = tmp_path_factory.mktemp("updates")
    command = [sys.executable, "federation.py", "--steps", "1", "2", "--out", str(folder)]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def attack(
    updates: Path, monkeypatch: pytest.MonkeyPatch, round_number: int, steps: int, **settings: object
) -> list:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import attack as example

    return list(example.attack(updates / f"round_{round_number}", steps, 0.1, "dia", **settings))


def test_the_strategy_keeps_what_every_client_sent(updates: Path) -> None:
    names = {"before.npz", *(f"client_{number:02d}.npz" for number in range(16))}
    for number in (1, 2):
        assert {path.name for path in (updates / f"round_{number}").iterdir()} == names
    with (
        np.load(updates / "round_1" / "before.npz") as before,
        np.load(updates / "round_1" / "client_03.npz") as after,
    ):
        assert before.files == after.files == [f"arr_{number}" for number in range(6)]
        assert not np.array_equal(before["arr_0"], after["arr_0"])


def test_a_single_local_step_gives_the_images_away(updates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = attack(updates, monkeypatch, 1, 1, max_iterations=400)
    assert len(found) == 16
    assert [int(f.result.labels[0]) for f in found] == [f.client % 10 for f in found]
    assert sum(f.ssim > 0.9 for f in found) >= 12, [f.ssim for f in found]


def test_two_local_steps_are_replayed(updates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (updates / "round_2").glob("client_*.npz"):
        if path.stem > "client_02":
            path.unlink()
    found = attack(updates, monkeypatch, 2, 2, max_iterations=250)
    assert len(found) == 3 and all(f.ssim > 0.5 for f in found), [f.ssim for f in found]
