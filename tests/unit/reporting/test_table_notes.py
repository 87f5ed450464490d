"""Notes about what a table's numbers do not say: bold, searches cut short, budgets that recover nothing undefended."""

from pathlib import Path

from helpers import result_rows
from helpers.tables import DROPOUT, config, spec, table

from dia.evaluation.row_notes import HIDDEN_MATCH
from dia.reporting.expected_cells import expected_cells
from dia.reporting.tables.build import build
from dia.reporting.tables.spec import TableSpec
from dia.results.collected import collect


def test_the_contestants_for_bold_are_named(tmp_path: Path) -> None:
    made = table(tmp_path, TableSpec.from_file(DROPOUT))
    (note,) = [note for note in made.notes if note.startswith("Bold: ")]
    assert note == (
        "Bold: the best value as printed among IG, DIA, DIA-LBFGS, dia_readout, seed_search, analytic, for the same "
        "data, model, rate; equal as printed are all bold, unless all are equal. It is no test: see the intervals."
    )
    assert not [note for note in table(tmp_path, spec()).notes if note.startswith("Bold: ")]


def test_analytic_competes_for_bold_and_what_is_printed_alike_is_bold_alike(tmp_path: Path) -> None:
    of = config(attacks=["ig", "dia", "wiig", "analytic", "dia_readout"], dropout_rates=["0.5"], seeds=[0])
    scores = {"ig": 0.1, "dia": 0.918, "wiig": 1.0, "analytic": 0.9996, "dia_readout": 1.0}
    pairs = [result_rows.made(tmp_path, cell, [scores[cell.attack]] * 2) for cell in of.cells]
    collect(pairs, tmp_path / "results.parquet")
    made = build("x", TableSpec.from_file(DROPOUT), expected_cells(of), tmp_path / "results.parquet")
    best = {row.raw[-1] for row in made.rows if row.entries[0].best}
    assert best == {"analytic", "dia_readout"}  # both 1.000; wiig is told the masks


def test_searches_that_end_before_the_learning_rate_could_fall_are_noted(tmp_path: Path) -> None:
    of = config(attacks=["ig", "dia"], dropout_rates=["0.5"], seeds=[0])

    def noted(most: int, reason: str) -> list[str]:
        pairs = [
            result_rows.made(tmp_path, cell, [0.4, 0.6], max_iterations=most, stop_reason=reason)
            for cell in of.cells
        ]
        collect(pairs, tmp_path / "results.parquet")
        expected = expected_cells(of).assign(max_iterations=most)
        made = build("x", spec(), expected, tmp_path / "results.parquet")
        return [note for note in made.notes if note.startswith("Not converged: ")]

    assert noted(100, "max_iterations") == [
        "Not converged: 4 of 4 victims ended at max_iterations before their learning rate could fall once "
        "(100 iterations, plateau_patience 800)."
    ]
    assert noted(100, "converged") == []
    assert noted(20_000, "max_iterations") == []


def test_ig_without_dropout_below_chance_is_noted(tmp_path: Path) -> None:
    of = config(attacks=["ig"], dropout_rates=["0", "0.5"], seeds=[0])
    for ssim, wanted in (([0.05, 0.15], 1), ([0.25, 0.35], 0)):  # the mean image's is 0.2
        pairs = [result_rows.made(tmp_path, cell, ssim) for cell in of.cells]
        collect(pairs, tmp_path / "results.parquet")
        made = build("x", spec(), expected_cells(of), tmp_path / "results.parquet")
        notes = [note for note in made.notes if note.startswith("Without dropout ig is below")]
        assert len(notes) == wanted
        if wanted:
            assert f"({of.cells[0].id}: 0.100, mean image 0.200)" in notes[0]


def test_small_gradients_are_noted(tmp_path: Path) -> None:
    of = config(attacks=["ig"], dropout_rates=["0", "0.5"], seeds=[0])
    for first, wanted in (
        (f"other; {HIDDEN_MATCH}", ["2 of 4 victims have a small client gradient"]),
        ("other", []),
    ):
        pairs = [
            result_rows.made(tmp_path, cell, notes=note)
            for cell, note in zip(of.cells, (first, "other"), strict=True)
        ]
        collect(pairs, tmp_path / "results.parquet")
        made = build("x", spec(), expected_cells(of), tmp_path / "results.parquet")
        assert [note.partition(" (gradient_norm)")[0] for note in made.notes if "small" in note] == wanted
