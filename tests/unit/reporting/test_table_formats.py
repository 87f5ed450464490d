"""What Markdown, CSV, LaTeX and HTML make of a table."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers.tables import DROPOUT, config, results, spec, table

from dia.cli import main
from dia.reporting.tables.latex import latex_escape
from dia.reporting.tables.render import render
from dia.reporting.tables.spec import TableSpec


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
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {4 + 7}
    assert text.count(r"\begin") == text.count(r"\end") == 2
    unescaped = re.sub(r"\\[{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    assert not re.search(r"(?<!\\)[%#]", body)
    assert r"\label{tab:made_up}" in text


def test_a_paper_gets_chosen_columns_a_bare_tabular_and_the_caption_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = config()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(of.model_dump(mode="json", exclude_defaults=True)))
    command = ["tables", "--config", str(tmp_path / "config.yaml"), "--results", str(results(tmp_path, of))]
    command += ["--table", str(DROPOUT), "--tabular", "--out", str(tmp_path / "t.tex"), "--columns"]
    assert main([*command, "success", "ssim"]) == 0
    tabular, caption = (tmp_path / "t.tex").read_text(), (tmp_path / "t.caption.tex").read_text()
    assert tabular.split("\n")[0] == r"  \begin{tabular}{llllrrr}" and tabular.endswith("\\end{tabular}\n")
    assert r"data & model & rate & attack & success & SSIM & n \\" in tabular
    assert caption.startswith("Reconstruction quality by dropout rate. Scores on [0, 1] images.")
    assert "\\begin" not in caption and "Identified" in caption
    assert main([*command, "sim"]) == 1
    assert "unknown column 'sim'; did you mean 'ssim'?" in capsys.readouterr().err


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
