"""Tables: hand-computed numbers, n of N, chance levels, and what their notes say."""

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import result_rows
from helpers.tables import DROPOUT, config, results, row, spec, table

from dia.config.config import Config
from dia.errors import ConfigError
from dia.reporting.expected_cells import expected_cells, non_default_settings
from dia.reporting.tables.build import build
from dia.reporting.tables.declared_reference import declared_reference
from dia.reporting.tables.render import render
from dia.reporting.tables.spec import TableSpec
from dia.results.collected import collect


def test_means_are_those_computed_by_hand(tmp_path: Path) -> None:
    made = table(tmp_path, spec())
    assert [line.key for line in made.rows] == [("0", "ig"), ("0", "dia"), ("0.5", "ig"), ("0.5", "dia")]
    # (0.1 + 0.3 + 0.0 + 0.2) / 4 and (0.5 + 0.9 + 0.4 + 0.8) / 4
    assert row(made, "0.5", "ig").entries[0].estimate.value == pytest.approx(0.15)
    estimate = row(made, "0.5", "dia").entries[0].estimate
    assert estimate.value == pytest.approx(0.65)
    assert 0.4 <= estimate.low < 0.65 < estimate.high <= 0.9
    assert all((line.n, line.expected) == (4, 4) for line in made.rows)
    assert made.notes[0] == "8 of 8 cells."


def test_medians_and_plain_numbers(tmp_path: Path) -> None:
    metrics = [
        {"column": "ssim", "label": "SSIM", "statistic": "median", "interval": "none"},
        {"column": "iterations", "label": "iterations", "interval": "none", "format": ".1f"},
    ]
    made = table(tmp_path, spec(metrics=metrics))
    entries = row(made, "0.5", "dia").entries
    assert entries[0].estimate.value == pytest.approx((0.5 + 0.8) / 2)
    assert math.isnan(entries[0].estimate.low)
    assert entries[1].estimate.value == 100.5
    assert "| 100.5 |" in render(made, "md")


def test_success_has_a_wilson_interval_over_images(tmp_path: Path) -> None:
    metrics = [{"column": "success", "label": "success", "interval": "wilson", "format": ".0%"}]
    made = table(tmp_path, spec(metrics=metrics))
    value, low, high = row(made, "0.5", "dia").entries[0].estimate
    assert value == 0.5  # 0.9 and 0.8 of 0.5, 0.9, 0.4, 0.8
    assert (low, high) == pytest.approx((0.150, 0.850), abs=1e-3)


def test_images_of_a_batch_count_for_wilson(tmp_path: Path) -> None:
    of = config(dropout_rates=["0"], attacks=["ig"], seeds=[0])
    cell = of.cells[0]
    collect(
        [result_rows.made(tmp_path, cell, [0.9, 0.5], images=4, success=0.75)], tmp_path / "results.parquet"
    )
    metrics = [{"column": "success", "label": "success", "interval": "wilson"}]
    made = build("x", spec(metrics=metrics), expected_cells(of), tmp_path / "results.parquet")
    assert made.rows[0].entries[0].estimate == pytest.approx((0.75, 0.4093, 0.9285), abs=1e-3)  # 6 of 8


def test_missing_cells_are_counted_and_named(tmp_path: Path) -> None:
    gone = tuple(f"default/mnist/mlp/{end}" for end in ("p0.5/dia/seed0", "p0.5/dia/seed1", "p0/ig/seed1"))
    made = table(tmp_path, spec(), gone)
    assert (row(made, "0", "ig").n, row(made, "0", "ig").expected) == (2, 4)
    assert (row(made, "0.5", "dia").n, row(made, "0.5", "dia").expected) == (0, 4)
    assert made.notes[0] == f"5 of 8 cells; missing: {gone[2]}, {gone[0]}, {gone[1]}."
    markdown = render(made, "md")
    assert "|  | dia | – | 0/4 |" in markdown  # noqa: RUF001
    assert "2/4 |" in markdown
    assert render(made, "csv").splitlines()[-1] == "0.5,dia,,,,0,4"


def test_no_cell_at_all_still_gives_a_table(tmp_path: Path) -> None:
    made = table(tmp_path, TableSpec.from_file(DROPOUT), tuple(cell.id for cell in config().cells))
    assert [line.n for line in made.rows] == [0] * 4
    assert made.notes[0].startswith("0 of 8 cells; missing: ")


def test_more_missing_cells_than_a_reader_wants(tmp_path: Path) -> None:
    of = config(seeds=list(range(5)))
    made = build("x", spec(), expected_cells(of), results(tmp_path, of, tuple(c.id for c in of.cells)))
    assert made.notes[0].startswith("0 of 20 cells; missing: default/mnist/mlp/p0/ig/seed0, ")
    assert made.notes[0].endswith("/dia/seed4 and 10 more.")


def test_chance_levels_count_each_victim_once(tmp_path: Path) -> None:
    chance = {"by": [], "levels": {"mean_image": "mean image", "same_class": "same class"}}
    made = table(tmp_path, spec(chance=chance))
    mean_image, same_class = row(made, "", "mean image"), row(made, "", "same class")
    assert mean_image.entries[0].estimate.value == pytest.approx(0.2)
    assert (mean_image.n, mean_image.expected) == (2, None)
    assert same_class.entries[0].estimate.value == pytest.approx(0.3)
    assert same_class.n == 1  # the first victim has no other image of its class
    assert [line.key[1] for line in made.rows[-2:]] == ["mean image", "same class"]
    assert "| – | mean image | 0.200 [0.200, 0.200] | 2 |" in render(made, "md")  # noqa: RUF001


def test_attacks_across_with_chance_levels_beside_them(tmp_path: Path) -> None:
    chance = {"by": ["dropout_rate"], "levels": {"mean_image": "mean image"}}
    made = table(tmp_path, spec(rows=["dropout_rate"], columns=["attack"], chance=chance))
    assert [column.key for column in made.columns] == [("ig",), ("dia",), ("mean image",)]
    assert [line.key for line in made.rows] == [("0",), ("0.5",)]
    values = [entry.estimate.value for entry in made.rows[1].entries]
    assert values == pytest.approx([0.15, 0.65, 0.2])
    assert (made.rows[1].n, made.rows[1].expected) == (8, 8)
    assert render(made, "csv").startswith("dropout_rate,ig_ssim,ig_ssim_low,ig_ssim_high,dia_ssim,")
    assert r"\multicolumn{1}{c}{ig} & \multicolumn{1}{c}{dia}" in render(made, "tex")


def test_scenarios_are_never_averaged_in_one_line(tmp_path: Path) -> None:
    """They stand apart where a line would mix them, chance levels and bold numbers too; elsewhere nothing changes."""
    axes = {"datasets": ["mnist"], "models": ["mlp"], "dropout_rates": ["0.5"], "seeds": [0]}
    mapping = {
        "name": "made-up",
        "datasets": {"mnist": {"source": "bundled-mnist", "images": 16}},
        "scenarios": {"plain": {"victims": 2}, "noisy": {"victims": 2, "defence_noise_std": 0.1}},
        "grids": [axes | {"scenario": name, "attacks": ["ig", "dia"]} for name in ("plain", "noisy")],
    }
    of = Config.load(mapping)
    pairs = []
    for cell, ssim in zip(of.cells, (0.2, 0.9, 0.1, 0.3), strict=True):
        noise = 0.1 if cell.scenario == "noisy" else 0.0
        pairs.append(result_rows.made(tmp_path, cell, [ssim, ssim], defence_noise_std=noise))
    collect(pairs, tmp_path / "results.parquet")
    chance = {"by": [], "levels": {"mean_image": "mean image"}}
    compare = {"axis": "attack", "to": "ig", "column": "ssim", "label": "against IG"}
    declared = spec(chance=chance, best={"within": ["dropout_rate"]}, compare=compare)
    made = build("made_up", declared, expected_cells(of), tmp_path / "results.parquet")
    assert made.headings == ("scenario", "dropout_rate", "attack")
    assert [(line.key, line.entries[0].estimate.value, line.entries[0].best) for line in made.rows] == [
        (("plain", "0.5", "ig"), pytest.approx(0.2), False),
        (("plain", "0.5", "dia"), pytest.approx(0.9), True),
        (("plain", "", "mean image"), pytest.approx(0.2), False),
        (("noisy", "0.5", "ig"), pytest.approx(0.1), False),
        (("noisy", "0.5", "dia"), pytest.approx(0.3), True),
        (("noisy", "", "mean image"), pytest.approx(0.2), False),
    ]
    gains = [line.comparison.difference.value for line in made.rows if line.comparison]
    assert gains == [pytest.approx(0.7), pytest.approx(0.2)]
    told_apart = spec(rows=["defence_noise_std", "attack"])
    made = build("made_up", told_apart, expected_cells(of), tmp_path / "results.parquet")
    assert made.headings == ("defence_noise_std", "attack")


def test_where_keeps_cells_by_axis(tmp_path: Path) -> None:
    made = table(tmp_path, spec(where={"attack": ["dia"], "seed": [1]}))
    assert [line.key for line in made.rows] == [("0", "dia"), ("0.5", "dia")]
    assert made.rows[1].entries[0].estimate.value == pytest.approx(0.6)
    assert made.notes[0] == "2 of 2 cells."


def test_numbers_sort_as_numbers_and_names_as_in_the_config(tmp_path: Path) -> None:
    of = config(dropout_rates=["0.5", "0"], attacks=["dia", "ig"])
    made = build("x", spec(), expected_cells(of), results(tmp_path, of))
    assert [line.key for line in made.rows] == [("0", "dia"), ("0", "ig"), ("0.5", "dia"), ("0.5", "ig")]


def test_notes_say_what_is_not_the_papers(tmp_path: Path) -> None:
    notes = table(tmp_path, spec(), code_fingerprint="a" * 64).notes
    assert "Settings other than the paper's: victims 2." in notes
    assert "Images: mnist from made up." in notes
    assert len(notes) == 4


def test_a_model_is_named_where_models_differ_and_training_where_there_is_any() -> None:
    def unusual(**changes: Any) -> str:
        mapping = yaml.safe_load("""
name: x
datasets: {mnist: {source: bundled-mnist, images: 4}}
scenarios:
  a: {victims: 2, mask_penalty_weight: 0, training_clients: 3, max_iterations: 7, per_model: {vit: {max_iterations: 5}}}
  b: {victims: 2, training_clients: 3, max_iterations: 7, per_model: {vit: {max_iterations: 5}}}
grids:
  - &grid {scenario: a, datasets: [mnist], models: [mlp, vit], dropout_rates: ["0"], attacks: [ig], seeds: [0]}
  - {<<: *grid, scenario: b}
""")
        mapping["scenarios"]["b"] |= changes
        return non_default_settings(expected_cells(Config.load(mapping)))

    assert unusual() == "max_iterations 7 (mlp), 5 (vit); mask_penalty_weight 0, 0.0001; victims 2"
    assert "federated_rounds 0, 4; training_clients 3;" in unusual(federated_rounds=4)
    assert unusual(local_epochs=1, local_batch_size=1).startswith(
        "local_epochs 0, 1; local_batch_size null, 1;"
    )


def test_every_declared_table_is_valid_and_the_first_says_what_it_must() -> None:
    for path in DROPOUT.parent.glob("*.yaml"):
        TableSpec.from_file(path)
    dropout = TableSpec.from_file(DROPOUT)
    assert dropout.rows[-3:] == ("model", "dropout_rate", "attack")
    assert {metric.column for metric in dropout.metrics} >= {"mse", "psnr", "ssim", "success"}
    assert dropout.chance is not None
    assert set(dropout.chance.levels) == {"mean_image", "same_class"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rowz": ["attack"]}, "unknown key 'rowz'; did you mean 'rows'"),
        ({"rows": ["atack"]}, "unknown axis 'atack'; did you mean 'attack'"),
        ({"rows": []}, "rows: empty"),
        ({"columns": ["attack"]}, "an axis occurs twice"),
        ({"metrics": [{"column": "sim", "label": "x"}]}, "unknown column 'sim'; did you mean 'ssim'"),
        ({"metrics": [{"column": "ssim", "label": "x", "format": "fancy"}]}, "not a number format"),
        ({"metrics": [{"column": "ssim", "label": "x", "interval": "wilson"}]}, "column success only"),
        ({"best": {"within": ["model"]}}, "best.within: model is not among rows and columns"),
        ({"chance": {"by": ["attack"], "levels": {"mean_image": "m"}}}, "attack must be in rows or columns"),
        ({"chance": {"by": [], "levels": {"median": "m"}}}, "must be 'mean_image' or 'same_class'"),
    ],
)
def test_a_wrong_declaration_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "wrong.yaml"
    declared = spec().model_dump(mode="json", exclude_unset=True) | changes
    path.write_text(yaml.safe_dump(declared))
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        TableSpec.from_file(path)
    assert "wrong.yaml" in str(caught.value)


def test_speed_is_iterations_by_seconds(tmp_path: Path) -> None:
    metrics = [{"column": "iterations_per_second", "label": "speed", "interval": "none", "format": ".2f"}]
    made = table(tmp_path, spec(metrics=metrics))
    assert row(made, "0.5", "dia").entries[0].estimate.value == 50.25  # 100 and 101 iterations in 2 seconds
    made = table(tmp_path, spec(metrics=metrics), seconds=0.0)
    assert math.isnan(row(made, "0.5", "dia").entries[0].estimate.value)


def test_an_optional_column_appears_with_its_numbers(tmp_path: Path) -> None:
    metrics = [
        {"column": "ssim", "label": "SSIM"},
        {"column": "lpips", "label": "LPIPS", "optional": True, "interval": "none"},
    ]
    assert "LPIPS" not in render(table(tmp_path, spec(metrics=metrics)), "md")
    made = table(tmp_path, spec(metrics=metrics), lpips=0.25)
    assert row(made, "0.5", "dia").entries[1].estimate.value == 0.25


def test_where_an_attack_does_not_apply_there_is_a_dash_and_a_reason(tmp_path: Path) -> None:
    of = config(attacks=["ig", "analytic"], dropout_rates=["0.5"], seeds=[0])
    (ig, analytic), pairs = of.cells, []
    reasons = {ig: "max_iterations", analytic: "not_applicable: no linear layer sees the image's pixels"}
    for cell, reason in reasons.items():
        pairs.append(result_rows.made(tmp_path, cell, [0.4, 0.6], stop_reason=reason, claimed_fraction=0.0))
    collect(pairs, tmp_path / "results.parquet")
    metrics = [{"column": column, "label": column} for column in ("ssim", "claimed_fraction", "seconds")]
    spec = TableSpec.model_validate({"title": "t", "rows": ["attack"], "metrics": metrics})
    table = build("t", spec, expected_cells(of), tmp_path / "results.parquet")
    values = {row.key[0]: [entry.estimate.value for entry in row.entries] for row in table.rows}
    assert values["ig"] == [pytest.approx(0.5), 0.0, 2.0]
    assert [math.isnan(value) for value in values["analytic"]] == [True, True, False]
    assert values["analytic"][2] == 2.0
    assert [row.n for row in table.rows] == [2, 2]
    assert (
        "A dash: the attack does not apply (analytic: no linear layer sees the image's pixels)."
        in table.notes
    )


def test_the_workflow_asks_for_published_numbers_without_heavy_imports(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("reference_values: ../b.csv")
    (tmp_path / "none.yaml").write_text("title: t")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "list.yaml").write_text("[1]")
    code = (
        "import sys; from dia.reporting.tables.declared_reference import declared_reference as asked\n"
        "import dia.reporting.figures.registry\n"
        "print(*(asked(f'{name}.yaml') for name in ('a', 'none', 'empty')))\n"
        "print({'pyarrow', 'pandas', 'numpy', 'torch', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "../b.csv None None\nset()\n"
    with pytest.raises(ConfigError, match=r"list\.yaml is no table: it must be a mapping"):
        declared_reference(tmp_path / "list.yaml")
    with pytest.raises(ConfigError, match="cannot read the table"):
        declared_reference(tmp_path / "absent.yaml")
