"""``dia compare``: two studies on the victims that they share, with paired statistics and what differs."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import result_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from dia.cli import main
from dia.reporting.compare import compare_studies, read_study
from dia.reporting.intervals import bootstrap
from dia.results.collected import collect

A = {0: [0.1, 0.2, 0.3], 1: [0.2, 0.2, 0.2]}
B = {0: [0.5, 0.9, 0.2], 1: [0.5, 0.8, 0.4]}
"""SSIM of three victims under two seeds."""


def study(folder: Path, scores: dict[int, list[float]], **changes: Any) -> Path:
    """A results folder with a cell per seed."""
    for seed, ssim in scores.items():
        result_rows.write(folder / "cells", result_rows.cell(seed=seed), ssim, **changes)
    return folder


def both(tmp_path: Path, **changes: Any) -> tuple[Path, Path]:
    return study(tmp_path / "a", A), study(tmp_path / "b", B, **changes)


def compared(*folders: Path, by: tuple[str, ...] = ("attack",), scores: tuple[str, ...] = ("ssim",)) -> Any:
    return compare_studies(*(read_study(folder, scores) for folder in folders), by, scores)


def test_differences_are_paired_over_seeds_and_victims(tmp_path: Path) -> None:
    (row,) = compared(*both(tmp_path)).tables[0].rows
    seeds = [0, 0, 0, 1, 1, 1]
    differences = np.array([*B[0], *B[1]]) - np.array([*A[0], *A[1]])
    assert row.entries[0].estimate == pytest.approx(bootstrap([*A[0], *A[1]], seeds))
    assert row.entries[1].estimate == pytest.approx(bootstrap([*B[0], *B[1]], seeds))
    assert row.comparison.difference == pytest.approx(bootstrap(differences, seeds))
    assert row.comparison.p_value == pytest.approx(wilcoxon([0.35, 0.65, 0.05]).pvalue)  # victims, over seeds
    assert (row.key, row.n, row.expected, row.comparison.pairs) == (("dia",), 6, 6, 3)


@settings(max_examples=15)
@given(st.lists(st.tuples(*[st.floats(0, 1, width=16)] * 2), min_size=1, max_size=6))
def test_swapped_studies_give_the_opposite_difference(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[float, float]]
) -> None:
    folder = tmp_path_factory.mktemp("studies")
    before, after = ([pair[n] for pair in pairs] for n in (0, 1))
    a, b = study(folder / "a", {0: before}), study(folder / "b", {0: after})
    forth, back = (compared(*order).tables[0].rows[0].comparison for order in ((a, b), (b, a)))
    assert forth.difference.value == pytest.approx(np.mean(after) - np.mean(before), abs=1e-12)
    assert forth.difference.value == pytest.approx(-back.difference.value, abs=1e-12)
    assert forth.p_value == back.p_value


def test_groups_and_seeds_as_a_group(tmp_path: Path) -> None:
    rows = compared(*both(tmp_path), by=("attack", "seed")).tables[0].rows
    assert [row.key for row in rows] == [("dia", "0"), ("dia", "1")]
    assert [row.comparison.difference.value for row in rows] == pytest.approx([1.0 / 3, 1.1 / 3])


def test_holm_corrects_for_the_rows_of_a_table(tmp_path: Path) -> None:
    seven = {0: np.linspace(0.1, 0.7, 7).tolist()}
    better = {0: [score + 0.01 * (n + 1) for n, score in enumerate(seven[0])]}
    a, b = study(tmp_path / "a", seven), study(tmp_path / "b", better)
    for folder, scores in ((a, seven[0]), (b, better[0])):
        result_rows.write(folder / "cells", result_rows.cell(attack="ig"), scores)
    alone = compared(a, b, by=("dataset",)).tables[0].rows[0].comparison.p_value
    rows = compared(a, b).tables[0].rows
    assert alone == pytest.approx(2 / 2**7)  # one test of seven victims, all of one sign
    assert [row.comparison.p_value for row in rows] == pytest.approx([2 * alone, 2 * alone])


def test_only_the_same_images_are_pairs(tmp_path: Path) -> None:
    a = study(tmp_path / "a", {0: [0.1, 0.2, 0.3], 1: [0.1, 0.2], 2: [0.1, 0.2], 3: [0.4, 0.5]})
    b = study(tmp_path / "b", {0: [0.2, 0.3]})
    result_rows.write(b / "cells", result_rows.cell(seed=1), [0.9, 0.9], victims_sha256="w" * 64)
    result_rows.write(b / "cells", result_rows.cell(seed=2), [0.9, 0.9], source_indices=[7])
    result_rows.write(b / "cells", result_rows.cell(seed=9), [0.9, 0.9])
    found = compared(a, b)
    (row,) = found.tables[0].rows
    assert (row.n, row.expected) == (2, 7)
    assert row.comparison.difference.value == pytest.approx(0.1)
    ids = [result_rows.cell(seed=seed).id for seed in range(10)]
    assert found.unmatched == {
        "only A attacked the victim": (f"{ids[0]}/0002",),
        f"another victim set: sha256 {'v' * 12} in A, {'w' * 12} in B": (f"{ids[1]}/0000", f"{ids[1]}/0001"),
        "other images of the victim set (source_indices)": (f"{ids[2]}/0000", f"{ids[2]}/0001"),
    }
    assert found.only == ((ids[3],), (ids[9],))


def test_a_victim_without_reconstruction_is_no_zero(tmp_path: Path) -> None:
    a = study(tmp_path / "a", {0: [0.1, 0.2], 1: [0.3, 0.4]})
    b = study(tmp_path / "b", {0: [0.2, 0.3]})
    stopped = "failed: the loss is not finite"
    result_rows.write(b / "cells", result_rows.cell(seed=1), [0.5, 0.6], stop_reason=stopped)
    found = compared(a, b)
    (row,) = found.tables[0].rows
    assert (row.n, row.expected, row.comparison.difference.value) == (2, 4, pytest.approx(0.1))
    assert [(reason, len(victims)) for reason, victims in found.unmatched.items()] == [
        (f"no reconstruction in B: {stopped}", 2)
    ]


def test_what_differs_is_named_with_its_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = both(tmp_path, learning_rate=0.5, torch_version="2.14.0")
    result_rows.write(b / "cells", result_rows.cell(seed=1), B[1], code_fingerprint="e" * 64)
    assert main(["compare", str(a), str(b)]) == 0
    text = capsys.readouterr().out
    assert "* learning_rate: 0.1 in A, 0.5 in B (1 of 2 cells)" in text
    assert "* torch_version: 2.13.0 in A, 2.14.0 in B (1 of 2 cells)" in text
    assert f"* code_fingerprint: {'f' * 12} in A, {'e' * 12} in B (1 of 2 cells)" in text
    assert text.index("learning_rate") < text.index("code_fingerprint")
    assert "* in both: 2\n" in text and "only in" not in text and "not compared" not in text


def test_equal_studies_differ_in_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = study(tmp_path / "a", A), study(tmp_path / "b", A)
    assert main(["compare", str(a), str(b), "--score", "ssim"]) == 0
    text = capsys.readouterr().out
    assert "no setting, no code, no version of torch" in text
    assert "+0 [+0, +0]" in text


def test_a_collected_file_is_the_same_study(tmp_path: Path) -> None:
    pairs = [
        result_rows.made(
            tmp_path / "a" / "cells", result_rows.cell(seed=seed), A[seed], lbfgs_start_iteration=7
        )
        for seed in A
    ]
    collect(pairs, tmp_path / "a.parquet", compact=True)
    b = study(tmp_path / "b", B)
    folder, file = (compared(a, b) for a in (tmp_path / "a", tmp_path / "a.parquet"))
    assert folder == file
    assert [(change.name, change.before, change.after) for change in file.changes] == [
        ("lbfgs_start_iteration", "7", "null")
    ]


def test_csv_has_a_line_per_score_and_group(tmp_path: Path) -> None:
    a, b = both(tmp_path)
    out = tmp_path / "out" / "difference.csv"
    assert main(["compare", str(a), str(b), "--by", "attack,seed", "--out", str(out)]) == 0
    lines = list(csv.DictReader(out.open()))
    assert [(line["score"], line["seed"]) for line in lines] == [
        ("ssim", "0"), ("ssim", "1"), ("matching_distance", "0"), ("matching_distance", "1"),
    ]  # fmt: skip
    assert float(lines[0]["B"]) - float(lines[0]["A"]) == pytest.approx(
        float(lines[0]["difference"]), abs=1e-5
    )
    assert float(lines[2]["difference"]) == pytest.approx(-0.1 * float(lines[0]["difference"]), abs=1e-5)
    assert (lines[0]["pairs"], lines[0]["n"], lines[0]["n_expected"]) == ("3", "3", "3")


def test_html_is_one_page_and_names_are_escaped(tmp_path: Path) -> None:
    a, b = study(tmp_path / "a<b", A), study(tmp_path / "b", B)
    out = tmp_path / "difference.html"
    assert (
        main(["compare", str(a), str(b), "--out", str(out), "--score", "ssim", "--score", "iterations"]) == 0
    )
    text = out.read_text()
    assert text.count("<html") == 1 and text.count("<table>") == 2
    assert "a&lt;b" in text and "a<b" not in text


def test_a_derived_score(tmp_path: Path) -> None:
    a, b = both(tmp_path, seconds=1.0)
    (row,) = compared(a, b, scores=("iterations_per_second",)).tables[0].rows
    assert [entry.estimate.value for entry in row.entries] == pytest.approx([50.5, 101.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--score", "ssin"], "--score: unknown score 'ssin'; did you mean 'ssim'?"),
        (["--by", "atack"], "--by: unknown axis 'atack'; did you mean 'attack'?"),
        (["--out", "x.xlsx"], "--out x.xlsx: unknown format '.xlsx'"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["compare", *map(str, both(tmp_path)), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = study(tmp_path / "a", A)
    (empty := tmp_path / "empty").mkdir()
    foreign = tmp_path / "foreign"
    result_rows.write(foreign / "cells", result_rows.cell(attack="ig"))
    damaged = study(tmp_path / "damaged", B)
    file = damaged / "cells" / result_rows.cell(seed=1).path
    file.write_bytes(file.read_bytes()[:-30])
    for b, message in (
        (empty, "no cells/*.parquet in it; name a results folder (results/NAME) or a file of `dia collect`"),
        (tmp_path / "nowhere", "no such file; make it with `dia collect`"),
        (foreign, "A and B have no cell in common, so nothing can be compared; A has for example default/"),
        (damaged, "1 of 2 cells cannot be used:"),
        (file, "truncated or damaged"),
    ):
        assert main(["compare", str(a), str(b)]) == 1
        assert message in capsys.readouterr().err


def test_a_part_that_is_being_written_is_no_cell(tmp_path: Path) -> None:
    a, b = both(tmp_path)
    cell = b / "cells" / result_rows.cell(seed=1).path
    cell.with_name(".seed2.here.1.part.parquet").write_bytes(b"PAR1")
    assert compared(a, b).cells == 2
