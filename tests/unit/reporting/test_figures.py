"""Figures: what they show, what they refuse, and that equal results give equal files."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import result_rows
from PIL import Image

from dia.cli import main
from dia.config.config import Config
from dia.errors import ConfigError, RecordError
from dia.jobs.cell import Cell
from dia.reporting.expected_cells import expected_cells
from dia.reporting.figures.batch_size import batch_size
from dia.reporting.figures.curves import curves
from dia.reporting.figures.masks import masks
from dia.reporting.figures.overview import overview
from dia.reporting.figures.rates import rates
from dia.reporting.figures.reconstructions import reconstructions
from dia.reporting.figures.registry import FIGURES, figure_groups
from dia.reporting.figures.scenarios import scenarios
from dia.reporting.figures.style import save
from dia.reporting.figures.victims import victims
from dia.results.collected import collect
from dia.results.job_list import job_list_text

Jobs = list[tuple[Cell, Path]]


def jobs(folder: Path, rates: tuple[str, ...] = ("0.5", "0"), **changes: Any) -> Jobs:
    """Cells of ig, wiig and dia at each rate, with their files."""
    cells = [result_rows.cell(dropout_rate=rate, attack=a) for rate in rates for a in ("ig", "wiig", "dia")]
    return [result_rows.made(folder, cell, [0.9, 0.8, 0.25], **changes) for cell in cells]


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts]


def drawn(figure: Any) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


def test_originals_and_reconstructions_by_rate_and_attack(tmp_path: Path) -> None:
    figure = reconstructions(jobs(tmp_path), victims=2)
    assert texts(figure)[:2] == ["mnist, mlp (default)", "original"]
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
    for some in (("0",), ("0", "0.1", "0.25", "0.5", "0.75")):
        figure = reconstructions(jobs(tmp_path, some))
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
        RecordError,
        match=r"none of the figure's 1 cells has a result file, such as .*/x\.parquet",
    ):
        reconstructions([(result_rows.job(result_rows.cell()), tmp_path / "x.parquet")])


def test_cells_of_other_images_are_refused(tmp_path: Path) -> None:
    cells = jobs(tmp_path)
    job, path = cells[4]
    other = result_rows.rows(job.cell, [0.9, 0.8, 0.25])
    other[1]["original"] = np.zeros(64, np.float32)
    result_rows.write_cell(path, other, job)
    with pytest.raises(RecordError, match=r"p0/wiig/seed0\.parquet: victim 0001 is another image"):
        reconstructions(cells)


def test_cells_of_several_grids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="one scenario, dataset, model and seed"):
        reconstructions([*jobs(tmp_path), (result_rows.job(result_rows.cell(seed=1)), tmp_path / "x")])


def test_equal_results_give_equal_files(tmp_path: Path) -> None:
    cells = jobs(tmp_path, ("0.5",))
    for suffix in (".png", ".pdf"):
        for name in "ab":
            save(reconstructions(cells), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert Image.open(tmp_path / "a.png").width > 500
    with pytest.raises(ConfigError, match=r"must be one of \.png, \.pdf"):
        save(reconstructions(cells), tmp_path / "a.gif")


def collected(folder: Path, **grid: Any) -> tuple[Path, Any]:
    """Made-up results of a config with these grids, and its cells."""
    axes = {"datasets": ["mnist"], "models": ["mlp", "vit"], "dropout_rates": ["0", "0.5"]}
    axes |= {"attacks": ["ig", "wiig", "dia"], "seeds": [0, 1]}
    config = Config.load(
        {
            "name": "made-up",
            "datasets": {"mnist": {"source": "bundled-mnist", "images": 16}},
            "scenarios": {"default": {"victims": 3}},
            "grids": [axes | grid],
        }
    )
    (folder / "config.json").write_text(config.identity())
    pairs = [result_rows.made(folder, cell, [0.9, 0.7, 0.2]) for cell in config.cells]
    collect(pairs, folder / "results.parquet")
    return folder / "results.parquet", expected_cells(config)


def lines(axes: Any) -> list[Any]:
    return [line for line in axes.lines if len(line.get_xdata()) > 2]


def test_rates_show_means_with_intervals_and_chance_levels(tmp_path: Path) -> None:
    results, expected = collected(tmp_path, dropout_rates=["0", "0.1", "0.5"])
    figure = rates(results, expected, scenario="default")
    assert [axes.get_title("left") for axes in figure.axes[:2]] == [
        "mnist, mlp: SSIM",
        "mnist, mlp: PSNR (dB)",
    ]
    ssim, _, success = figure.axes[:3]
    (bars,) = {len(axes.containers) for axes in figure.axes}
    assert bars == 3  # an attack each
    assert ssim.containers[0].lines[0].get_ydata() == pytest.approx([0.6] * 3)
    assert success.containers[0].lines[0].get_ydata() == pytest.approx([2 / 3] * 3)
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == ["0", "0.1", "0.5"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["IG", "WIIG", "DIA", "mean image", "same-class image"]


def test_long_titles_are_not_cut(tmp_path: Path) -> None:
    results, expected = collected(tmp_path)
    long = {"mnist": "fashion_mnist_rotated"}
    expected = expected.assign(
        dataset=expected["dataset"].replace(long), model=expected["model"].replace("vit", "resnet18")
    )
    table = pq.read_table(results)
    renamed = pa.array([long[name] for name in table["dataset"].to_pylist()])
    position = table.schema.get_field_index("dataset")
    pq.write_table(table.set_column(position, table.schema.field("dataset"), renamed), results)
    figure = rates(results, expected, scenario="default")
    figure.draw_without_rendering()
    grid = np.array(figure.axes).reshape(-1, 3)
    for line in grid:
        for axes, after in zip(line, [*line[1:], None], strict=True):
            title = axes.title if axes.get_title() else axes._left_title
            right = figure.bbox.width if after is None else after.get_tightbbox().x0
            assert title.get_window_extent().x1 <= right, title.get_text()
    assert "fashion_mnist_rotated" in grid[0, 0].get_title("left")


def test_scenarios_are_compared_side_by_side(tmp_path: Path) -> None:
    axes = {
        "datasets": ["mnist"],
        "models": ["mlp"],
        "dropout_rates": ["0.5"],
        "attacks": ["ig", "dia"],
        "seeds": [0],
    }
    names = ("default", "noise")
    config = Config.load(
        {
            "name": "made-up",
            "datasets": {"mnist": {"source": "bundled-mnist", "images": 16}},
            "scenarios": {"default": {"victims": 2}, "noise": {"victims": 2, "defence_noise_std": 0.1}},
            "grids": [axes | {"scenario": name} for name in names],
        }
    )
    level = {"default": [0.9, 0.7], "noise": [0.3, 0.1]}
    pairs = [result_rows.made(tmp_path, cell, level[cell.scenario]) for cell in config.cells]
    collect(pairs, tmp_path / "results.parquet")
    figure = scenarios(tmp_path / "results.parquet", expected_cells(config), dataset="mnist", model="mlp")
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["default", "noise"]
    for bars in panel.containers:
        assert bars.lines[0].get_ydata() == pytest.approx([0.8, 0.2])
        assert np.rint(bars.lines[0].get_xdata()).tolist() == [0, 1]
    assert list(figure_groups("scenarios", config.cells)) == ["scenarios/mnist/mlp"]
    assert not figure_groups("scenarios", [cell for cell in config.cells if cell.scenario == "noise"])


def test_curves_show_the_median_victim(tmp_path: Path) -> None:
    results, expected = collected(tmp_path)
    figure = curves(results, expected, scenario="default", dataset="mnist", model="vit")
    assert [axes.get_title("left") for axes in figure.axes] == ["p = 0", "p = 0.5", "", ""]
    distance, error = figure.axes[0].lines[0], figure.axes[2].lines[0]
    assert distance.get_xdata()[-1] == 90
    assert distance.get_ydata()[-1] == pytest.approx(0.03)  # 0.1 (1 - 0.7)
    assert error.get_ydata()[-1] == pytest.approx(0.3)


def test_masks_show_recovery_beside_chance(tmp_path: Path) -> None:
    results, expected = collected(tmp_path)
    figure = masks(results, expected, scenario="default", attack="dia")
    assert [axes.get_title("left") for axes in figure.axes] == ["mnist, mlp", "mnist, vit"]
    found, chance = figure.axes[0].lines
    assert (found.get_ydata()[0], found.get_ydata()[-1]) == pytest.approx((0.5, 0.95))
    assert list(chance.get_ydata()) == [0.5, 0.5]
    unfinished = [expected.assign(cell_id=expected["cell_id"] + name, model=name) for name in "abc"]
    figure = masks(results, pd.concat([expected, *unfinished]), scenario="default", attack="dia")
    assert [axes.get_visible() for axes in figure.axes] == [True] * 5 + [False] * 3  # two rows of four


def test_victims_shows_every_victim(tmp_path: Path) -> None:
    results, expected = collected(tmp_path)
    figure = victims(results, expected, scenario="default", dataset="mnist", model="mlp")
    clouds = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
    assert [sorted(line.get_ydata()) for line in clouds] == [[0.2, 0.2, 0.7, 0.7, 0.9, 0.9]] * 6


def test_batch_sizes_are_compared_where_nothing_else_differs(tmp_path: Path) -> None:
    grid = {
        "datasets": ["mnist"],
        "models": ["mlp"],
        "dropout_rates": ["0.5"],
        "attacks": ["ig"],
        "seeds": [0],
    }
    mapping: dict[str, Any] = {
        "name": "made-up",
        "datasets": {"mnist": {"source": "bundled-mnist", "images": 32}},
        "scenarios": {f"n{n}": {"victims": 2, "batch_size": n} for n in (1, 4)},
        "grids": [grid | {"scenario": "n1"}, grid | {"scenario": "n4"}],
    }
    config = Config.load(mapping)
    pairs = [
        result_rows.made(tmp_path, c, [s, s], images=n)
        for c, n, s in zip(config.cells, (1, 4), (0.9, 0.4), strict=True)
    ]
    collect(pairs, tmp_path / "results.parquet")
    figure = batch_size(tmp_path / "results.parquet", expected_cells(config))
    drawn = figure.axes[0].containers[0].lines[0]
    assert (list(drawn.get_xdata()), list(drawn.get_ydata())) == ([1, 4], pytest.approx([0.9, 0.4]))
    mapping["scenarios"]["n4b"] = mapping["scenarios"]["n4"] | {"tv_weight": 1.0}
    mapping["grids"].append(grid | {"scenario": "n4b"})
    with pytest.raises(RecordError, match=r"these differ in tv_weight: leave batch_size out of `figures`"):
        batch_size(tmp_path / "results.parquet", expected_cells(Config.load(mapping)))


def test_missing_cells_are_counted_below_a_figure(tmp_path: Path) -> None:
    results, expected = collected(tmp_path)
    more = expected.assign(cell_id=expected["cell_id"] + "0", model="lenet")
    figure = rates(results, pd.concat([expected, more]), scenario="default")
    assert "24 of 48 cells" in " ".join(figure.get_supxlabel().split())


def test_the_overview_has_a_panel_for_every_dataset_and_model(tmp_path: Path) -> None:
    results, expected = collected(tmp_path)
    more = expected.assign(cell_id=expected["cell_id"] + "0", dataset="cifar10")
    figure = overview(results, pd.concat([expected, more]), scenario="default")
    panels = {axes.get_title(loc="left"): len(axes.containers) for axes in figure.axes}
    lines = {"mnist, mlp": 3, "mnist, vit": 3, "cifar10, mlp": 0, "cifar10, vit": 0}  # one per attack
    assert panels == lines
    assert "24 of 48 cells" in " ".join(figure.get_supxlabel().split())


def test_every_figure_of_a_config_has_a_name_of_its_own() -> None:
    cells = [result_rows.cell(dropout_rate=r, attack=a) for r in ("0", "0.5") for a in ("ig", "dia")]
    groups = {kind: figure_groups(kind, cells) for kind in FIGURES}
    assert list(groups["reconstructions"]) == ["reconstructions/default/mnist/mlp/seed0"]
    assert list(groups["curves"]) == ["curves/default/mnist/mlp"]
    assert list(groups["batch_size"]) == ["batch_size"]
    assert groups["rates"] == {"rates/default": cells}
    assert figure_groups("masks", [c for c in cells if c.p == 0]) == {}  # nothing to recover


def test_charts_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collected(tmp_path)
    files = ["--config", str(tmp_path / "config.json"), "--results", str(tmp_path / "results.parquet")]
    for kind in ("rates", "overview", "curves", "masks", "victims"):
        assert main(["figures", kind, *files, "--out", str(tmp_path / f"{kind}.png")]) == 0
        assert Image.open(tmp_path / f"{kind}.png").width > 500
    out = ["--out", str(tmp_path / "x.png")]
    assert main(["figures", "curves", *files, "--model", "lenet", *out]) == 1
    assert "--model lenet: " in capsys.readouterr().err
    assert main(["figures", "rates", *out]) == 1
    assert "the figure rates needs --config and --results" in capsys.readouterr().err
    collect([], tmp_path / "results.parquet")
    assert main(["figures", "rates", *files, *out]) == 0
    assert "has none of the 24 cells of the figure" in capsys.readouterr().out


def test_figures_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = result_rows.job(result_rows.cell(model="vit"))
    path = tmp_path / "cells.jsonl"
    path.write_text(job_list_text([*jobs(tmp_path, ("0.5",)), (other, tmp_path / "none.parquet")]))
    command = ["figures", "reconstructions", "--job-list", str(path), "--out", str(tmp_path / "f" / "x.png")]
    assert main(command) == 0  # the first model of the list
    assert (tmp_path / "f" / "x.png").is_file()
    assert main([*command, "--model", "lenet"]) == 1
    assert "--model lenet: " in capsys.readouterr().err
    assert main([*command, "--model", "vit"]) == 1
    assert "none of the figure's 1 cells" in capsys.readouterr().err
    assert main([*command, "--rows", "0"]) == 1
