"""A fingerprint of code: what it does counts, what it says does not."""

from pathlib import Path

import pytest

from dia.utils.source_fingerprint import fingerprint

SOURCE = '''
"""Doubles."""

from pydantic import Field

FACTOR: int = Field(2, description="the factor")
"""The factor."""


def double(x: int) -> int:
    """Twice x."""
    if x < 0:
        raise ValueError(f"{x} is below 0: " + "double takes no such number", 3)
    return FACTOR * x
'''


def of(folder: Path, source: str, name: str = "double.py") -> str:
    folder.mkdir(parents=True)
    (folder / name).write_text(source)
    return fingerprint([folder / name], folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Twice x."""', '"""The double of x, at length."""  # why'),
        ('"""Doubles."""', ""),
        ('"""The factor."""', '"""Another factor."""'),
        ("return FACTOR * x", "return (\n        FACTOR * x\n    )"),
        ('f"{x} is below 0: "', 'f"{x!r} is negative: "'),
        ('f"{x} is below 0: " + "double takes no such number"', '"x is negative"'),
        ('description="the factor"', 'description="by what x is multiplied"'),
        (', description="the factor"', ""),
    ],
)
def test_words_comments_and_layout_do_not_change_it(tmp_path: Path, old: str, new: str) -> None:
    assert old in SOURCE
    before = of(tmp_path / "a", SOURCE)
    assert len(before) == 64
    assert of(tmp_path / "b", SOURCE.replace(old, new)) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Field(2", "Field(3"),
        ("Field(2", "Field(2.0"),
        ("Field(2", "Field(default=2"),
        ("FACTOR * x", "x * FACTOR"),
        ("x < 0", "x <= 0"),
        ("ValueError(", "TypeError("),
        ('such number", 3)', 'such number", 4)'),
        ("x", "y"),
    ],
)
def test_code_changes_it(tmp_path: Path, old: str, new: str) -> None:
    assert old in SOURCE
    assert of(tmp_path / "b", SOURCE.replace(old, new)) != of(tmp_path / "a", SOURCE)


def test_names_of_files_and_what_is_no_python_count(tmp_path: Path) -> None:
    assert of(tmp_path / "a", SOURCE) != of(tmp_path / "b", SOURCE, "twice.py")
    assert of(tmp_path / "c", "no Python:") != of(tmp_path / "d", "no  Python:")
