"""Rows compared with each other, and with published numbers."""

from pathlib import Path

import numpy as np
import pytest
from helpers import result_rows
from helpers.tables import DROPOUT, config, results, row, spec
from scipy.stats import wilcoxon

from dia.errors import ConfigError
from dia.reporting.expected_cells import expected_cells
from dia.reporting.intervals import bootstrap
from dia.reporting.tables.build import build
from dia.reporting.tables.compare import holm, signed_rank, smallest_signed_rank
from dia.reporting.tables.reference import read_published
from dia.reporting.tables.render import render
from dia.reporting.tables.spec import TableSpec
from dia.results.collected import collect


def test_rows_are_compared_on_the_same_victims_and_seeds(tmp_path: Path) -> None:
    compare = {"axis": "attack", "to": "ig", "column": "ssim", "label": "against ig"}
    of = config(dropout_rates=["0.5"])
    scores = {("ig", 0): [0.1, 0.2, 0.3], ("ig", 1): [0.2, 0.2, 0.2]}
    scores |= {("dia", 0): [0.5, 0.9, 0.2], ("dia", 1): [0.5, 0.8, 0.4]}
    pairs = [result_rows.made(tmp_path, cell, scores[cell.attack, cell.seed]) for cell in of.cells]
    collect(pairs, tmp_path / "results.parquet")
    made = build("x", spec(compare=compare), expected_cells(of), tmp_path / "results.parquet")
    found = row(made, "0.5", "dia").comparison
    assert row(made, "0.5", "ig").comparison is None
    assert found is not None
    # victims' differences, averaged over the two seeds: 0.35, 0.65, 0.05
    assert (found.difference.value, found.pairs) == (pytest.approx(0.35), 3)
    expected = bootstrap([0.4, 0.7, -0.1, 0.3, 0.6, 0.2], [0, 0, 0, 1, 1, 1])
    assert found.difference == pytest.approx(expected)
    assert found.p_value == pytest.approx(wilcoxon([0.35, 0.65, 0.05]).pvalue) == pytest.approx(0.25)
    low, high = expected.low, expected.high
    assert f"| +0.350 [{low:+.3f}, {high:+.3f}] (n too small) |" in render(made, "md")
    lines = render(made, "csv").splitlines()
    assert lines[0].endswith(
        "ssim_difference,ssim_difference_low,ssim_difference_high,p_value,pairs,n,n_expected"
    )
    assert lines[2].endswith(f"0.35,{low:.6g},{high:.6g},0.25,3,6,4")
    assert "Holm" in " ".join(made.notes)


def test_other_images_are_no_pairs(tmp_path: Path) -> None:
    compare = {"axis": "attack", "to": "ig", "column": "ssim", "label": "against ig"}
    of = config(dropout_rates=["0.5"], seeds=[0])
    pairs = [
        result_rows.made(tmp_path, cell, [0.5, 0.6], source_indices=[7 if cell.attack == "ig" else 8])
        for cell in of.cells
    ]
    collect(pairs, tmp_path / "results.parquet")
    made = build("x", spec(compare=compare), expected_cells(of), tmp_path / "results.parquet")
    assert [line.comparison for line in made.rows] == [None, None]


def test_equal_scores_are_no_difference_and_p_values_are_corrected() -> None:
    assert signed_rank(np.zeros(5)) == 1.0
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_comparison_needs_its_axis_down_the_table() -> None:
    compare = {"axis": "seed", "to": "0", "column": "ssim", "label": "x"}
    with pytest.raises(ValueError, match="compare is for tables without columns whose rows have its axis"):
        spec(compare=compare)


def test_published_numbers_stand_beside_ours(tmp_path: Path) -> None:
    declared = spec(reference_values="published.csv")
    (tmp_path / "published.csv").write_text(
        "# a comment\ndropout_rate,attack,column,low,high,source\n"
        "0.50,dia,ssim,0.6,0.8,somebody 2020\n0.5,ig,ssim,0.125,,somebody 2020\n0.9,ig,ssim,0,0,not shown\n"
    )
    published = read_published(tmp_path / "published.csv", declared)
    of = config()
    made = build("x", declared, expected_cells(of), results(tmp_path, of), published=published)
    markdown = render(made, "md")
    assert "| SSIM | published | n |" in markdown
    assert "| 0.600 to 0.800 | 4/4 |" in markdown  # the rate is compared as a number
    assert "| 0.125 | 4/4 |" in markdown
    assert "Published numbers, not ours: somebody 2020." in made.notes
    assert "ssim_published_low,ssim_published_high" in render(made, "csv")
    plain = build("x", declared, expected_cells(of), tmp_path / "results.parquet")
    assert "published" not in render(plain, "md")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attak,column,low,high,source\n", "unknown heading 'attak'; did you mean 'attack'"),
        ("attack,column,low,high\n", "the heading source is missing"),
        ("column,low,high,source\nssin,1,,x\n", "unknown column 'ssin'; did you mean 'ssim'"),
        ("column,low,high,source\nssim,good,,x\n", "value 1: low and high must be numbers, got good"),
    ],
)
def test_wrong_reference_values_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_published(tmp_path / "x.csv", spec())
    with pytest.raises(ConfigError, match="cannot read the reference values"):
        read_published(tmp_path / "none.csv", spec())


def test_shipped_reference_values_fit_their_table() -> None:
    declared = TableSpec.from_file(DROPOUT.with_name("authors_released.yaml"))
    published = read_published(DROPOUT.parent / str(declared.reference_values), declared)
    assert {(p.axes["dataset"], p.axes["model"], p.axes["dropout_rate"]) for p in published} == {
        ("cifar10", "vit", "0.5")
    }


@pytest.mark.parametrize("pairs", range(1, 12))
def test_the_smallest_p_value_is_that_of_differences_of_one_sign(pairs: int) -> None:
    assert smallest_signed_rank(pairs) == pytest.approx(wilcoxon(np.arange(1.0, pairs + 1)).pvalue)


@pytest.mark.parametrize(
    ("victims", "others", "shown"),
    [
        (5, ["dia"], "n too small"),  # 2 / 2^5 = 0.0625
        (6, ["dia"], "p-value 0.031"),
        (6, ["dia", "wiig"], "n too small"),  # twice that, by Holm's method
        (7, ["dia", "wiig"], "p-value 0.031"),
    ],
)
def test_a_test_that_no_scores_could_decide_shows_no_p_value(
    tmp_path: Path, victims: int, others: list[str], shown: str
) -> None:
    of = config(attacks=["ig", *others], dropout_rates=["0.5"], seeds=[0])
    rising = np.linspace(0.1, 0.2, victims)
    scores = {"ig": [0.1] * victims, "dia": list(0.3 + rising), "wiig": list(0.5 + rising)}
    pairs = [result_rows.made(tmp_path, cell, scores[cell.attack]) for cell in of.cells]
    collect(pairs, tmp_path / "results.parquet")
    compare = {"axis": "attack", "to": "ig", "column": "ssim", "label": "against ig"}
    expected = expected_cells(of).assign(victims=victims)
    made = build("x", spec(compare=compare), expected, tmp_path / "results.parquet")
    assert render(made, "md").count(f"({shown})") == len(others)
