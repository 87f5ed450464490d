"""Figures: what they show, what they refuse, and that equal results give equal files."""

import json
import re
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest
from PIL import Image

from dia.cell import Cell
from dia.cli import main
from dia.errors import ConfigError, RecordError
from dia.figures import reconstructions, save

Jobs = list[tuple[Cell, Path]]


def jobs(folder: Path, rates: tuple[str, ...] = ("0.5", "0"), **changes: Any) -> Jobs:
    """Cells of ig, wiig and dia at each rate, with their files."""
    cells = [made_up.cell(dropout_rate=rate, attack=a) for rate in rates for a in ("ig", "wiig", "dia")]
    return [(cell, made_up.write(folder, cell, [0.9, 0.8, 0.25], **changes)) for cell in cells]


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts]


def drawn(figure: Any) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


def test_originals_and_reconstructions_by_rate_and_attack(tmp_path: Path) -> None:
    figure = reconstructions(jobs(tmp_path), victims=2)
    assert texts(figure)[:2] == ["mnist, mlp", "original"]
    heads = [text for text in texts(figure) if not re.fullmatch(r"0\.\d\d", text)]
    block = ["IG", "WIIG", "DIA"]
    assert heads[2:-1] == ["p = 0", *block, "p = 0.5", *block]
    scores = [text for text in texts(figure) if re.fullmatch(r"0\.\d\d", text)]
    assert scores == ["0.90", "0.80"] * 6
    images = drawn(figure)
    assert len(images) == 2 + 2 * 6
    original = np.random.default_rng(1).random((1, 1, 8, 8), dtype=np.float32)[0, 0]
    np.testing.assert_array_equal(images[1], original)
    np.testing.assert_allclose(images[3], 0.8 * original, rtol=1e-6)


def test_everything_lies_inside_the_figure(tmp_path: Path) -> None:
    for rates in (("0",), ("0", "0.1", "0.25", "0.5", "0.75")):
        figure = reconstructions(jobs(tmp_path, rates))
        figure.draw_without_rendering()
        outer = figure.bbox
        for artist in [*figure.texts, *figure.axes]:
            box = artist.get_window_extent()
            assert box.x0 >= outer.x0, artist
            assert box.x1 <= outer.x1, artist
            assert box.y0 >= outer.y0, artist
            assert box.y1 <= outer.y1, artist


def test_a_missing_cell_is_shown_as_missing(tmp_path: Path) -> None:
    cells = jobs(tmp_path)
    cells[2][1].unlink()
    figure = reconstructions(cells, victims=3)
    assert len(drawn(figure)) == 3 + 3 * 5
    assert [t.get_text() for axes in figure.axes for t in axes.texts] == ["missing"] * 3


def test_no_cell_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        RecordError, match=r"none of the figure's 1 cells has a result file, such as .*/x\.parquet"
    ):
        reconstructions([(made_up.cell(), tmp_path / "x.parquet")])


def test_cells_of_other_images_are_refused(tmp_path: Path) -> None:
    cells = jobs(tmp_path)
    other = made_up.rows(cells[4][0], [0.9, 0.8, 0.25])
    other[1]["original"] = np.zeros(64, np.float32)
    made_up.write_cell(cells[4][1], other)
    with pytest.raises(RecordError, match=r"p0/wiig/seed0\.parquet: victim 0001 is another image"):
        reconstructions(cells)


def test_cells_of_several_grids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="one scenario, dataset, model and seed"):
        reconstructions([*jobs(tmp_path), (made_up.cell(seed=1), tmp_path / "x")])


def test_equal_results_give_equal_files(tmp_path: Path) -> None:
    cells = jobs(tmp_path, ("0.5",))
    for suffix in (".png", ".pdf"):
        for name in "ab":
            save(reconstructions(cells), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert Image.open(tmp_path / "a.png").width > 500
    with pytest.raises(ConfigError, match=r"must be one of \.png, \.pdf"):
        save(reconstructions(cells), tmp_path / "a.gif")


def test_figures_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [*jobs(tmp_path, ("0.5",)), (made_up.cell(model="vit"), tmp_path / "none.parquet")]
    path = tmp_path / "cells.jsonl"
    path.write_text("".join(json.dumps({"cell": c.axes(), "path": str(p)}) + "\n" for c, p in cells))
    command = ["figures", "reconstructions", "--job-list", str(path), "--out", str(tmp_path / "f" / "x.png")]
    assert main(command) == 0  # the first model of the list
    assert (tmp_path / "f" / "x.png").is_file()
    assert main([*command, "--model", "lenet"]) == 1
    assert "--model lenet: " in capsys.readouterr().err
    assert main([*command, "--model", "vit"]) == 1
    assert "none of the figure's 1 cells" in capsys.readouterr().err
    assert main([*command, "--rows", "0"]) == 1
