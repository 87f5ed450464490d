"""What all figures share: attacks that can be told apart, and legends that fit, whatever a grid has of them."""

from pathlib import Path

import pytest

from dia.attacks.registry import ATTACKS
from dia.reporting.figures.style import attack_style, legend, legend_handle, panel_grid, save


def test_every_attack_has_a_look_of_its_own() -> None:
    unknown = attack_style("another")
    for told in zip(unknown, *map(attack_style, ATTACKS), strict=True):
        assert len(set(told)) == len(ATTACKS) + 1
    assert unknown.name == "another"


@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("entries", [1, 3, 6, 9])
def test_a_legend_stays_inside_the_figure_and_above_the_panels(
    tmp_path: Path, columns: int, entries: int
) -> None:
    names = [
        *(attack_style(attack).name for attack in ATTACKS),
        "mean image",
        "same-class image",
        "another one",
    ][:entries]
    figure, grid = panel_grid(1, columns, "A title")
    legend(figure, [(legend_handle("black"), name) for name in names])
    save(figure, tmp_path / "figure.png")  # lays it out
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
    assert box.y0 >= max(axes.get_tightbbox().y1 for axes in grid.flat)
    assert box.y1 <= figure.bbox.y1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names
