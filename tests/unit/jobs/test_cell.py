"""Cells: canonical ids and paths. They name files on users' disks, so they must never change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.errors import ConfigError
from dia.jobs.cell import Cell
from dia.utils.patterns import NAME, RATE

CELL = Cell("default", "mnist", "mlp", "0.50", "dia", 0)

names = st.from_regex(NAME, fullmatch=True)
cells = st.builds(
    Cell, names, names, names, st.from_regex(RATE, fullmatch=True), names, st.integers(0, 2**31 - 1)
)


def test_id_and_path_are_stable() -> None:
    assert CELL.id == "default/mnist/mlp/p0.50/dia/seed0"
    assert CELL.path == "default/mnist/mlp/p0.50/dia/seed0.parquet"


def test_spelling_of_the_rate_is_kept() -> None:
    assert Cell.parse("default/mnist/mlp/p0.5/dia/seed0") != CELL
    assert Cell.parse("default/mnist/mlp/p0.5/dia/seed0").p == CELL.p == 0.5


def test_axes_are_named_in_the_order_of_the_id() -> None:
    assert list(CELL.axes().items()) == [
        ("scenario", "default"),
        ("dataset", "mnist"),
        ("model", "mlp"),
        ("dropout_rate", "0.50"),
        ("attack", "dia"),
        ("seed", 0),
    ]


def test_cells_sort_and_hash() -> None:
    later = Cell("default", "mnist", "mlp", "0.50", "dia", 1)
    assert sorted([later, CELL]) == [CELL, later]
    assert len({CELL, later, Cell.parse(CELL.id)}) == 2


@given(cells)
def test_parse_inverts_id(cell: Cell) -> None:
    assert Cell.parse(cell.id) == cell


@pytest.mark.parametrize(
    "text",
    [
        "default/mnist/mlp/p0.50/dia",
        "default/mnist/mlp/0.50/dia/seed0",
        "default/mnist/mlp/p1.0/dia/seed0",
        "default/mnist/mlp/p0.50/dia/seed01",
        "default/mnist/mlp/p0.50/dia/seed-1",
        "Default/mnist/mlp/p0.50/dia/seed0",
        "default/../mlp/p0.50/dia/seed0",
        "default/mnist/mlp/p0.50/dia/seed0\n",
        "",
    ],
)
def test_other_texts_are_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a cell id: expected scenario/dataset/model"):
        Cell.parse(text)
