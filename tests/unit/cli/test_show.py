"""``dia show``: scores in the terminal, pictures as files."""

from pathlib import Path

import numpy as np
import pytest
from helpers import result_rows
from PIL import Image

from dia.cli import main


def test_scores_are_printed_and_pictures_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cell = result_rows.cell()
    result_rows.write(Path("results/mine/cells"), cell, [0.9, 0.5], notes="something was announced")
    assert main(["show", cell.id, "--name", "mine", "--victims", "1"]) == 0
    printed = capsys.readouterr().out
    assert cell.id in printed
    assert "0.95" in printed  # mask accuracy
    assert "0001" not in printed  # the second victim
    mean = next(line for line in printed.splitlines() if line.startswith("SSIM"))
    assert mean.split() == ["SSIM", "0.7", "mean", "image", "0.2,", "same-class", "image", "0.3"]
    assert "note: something was announced" in printed
    folder = Path("results/mine/pictures", cell.id)
    assert f"5 pictures in {folder}" in printed
    shown = np.asarray(Image.open(folder / "victim0000_image0_reconstruction.png")) / 255
    original = np.random.default_rng(0).random((1, 8, 8), dtype=np.float32)
    assert np.abs(shown - 0.9 * original[0]).max() < 1 / 255
    assert Image.open(folder / "overview.png").width > 150


@pytest.mark.parametrize("columns", [80, 120])
def test_nothing_is_cut_at_80_columns_and_a_pipe_gets_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.chdir(tmp_path)
    cell = result_rows.cell()
    rows = result_rows.write(
        Path("results/mine/cells"), cell, [0.123456, 0.5], iterations=20000, stop_reason="no_improvement"
    )
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["show", str(rows)]) == 0
    printed = capsys.readouterr().out
    heads = next(line for line in printed.splitlines() if line.startswith("victim"))
    assert heads.split() == ["victim", "label", "SSIM", "PSNR", "MSE", "masks", "iterations", "stopped", "by"]
    line = next(line for line in printed.splitlines() if line.startswith("0000")).split()
    assert (line[2], line[6:]) == ("0.1235", ["20000", "no_improvement"])
    assert "…" not in printed and not set(printed) & set("│┃━─")
    assert all(len(line) <= 80 for line in printed.splitlines() if "pictures" not in line)


def test_a_result_file_by_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = result_rows.write(tmp_path, result_rows.cell(attack="ig"))
    assert main(["show", str(path), "--pictures", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "victim0001_image0_original.png").exists()


def test_wrong_cells_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["show", "mnist/mlp"]) == 1
    assert "'mnist/mlp' is not a cell id" in capsys.readouterr().err
    assert main(["show", result_rows.cell().id]) == 1
    assert "no such file; the cell has not been computed, or failed" in capsys.readouterr().err
    assert main(["show", result_rows.cell().id, "--victims", "0"]) == 1
