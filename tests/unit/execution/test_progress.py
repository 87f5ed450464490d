"""How far an attack is: a bar on a terminal, lines in a log."""

import io
import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dia.execution import progress
from dia.execution.progress import Progress


class State(SimpleNamespace):
    """So much of a search state as progress reads."""

    def __len__(self) -> int:
        return 3


def observe(observer: Progress) -> None:
    state: Any = State(iteration=7, best=SimpleNamespace(loss=torch.tensor([0.1, 0.2, 0.3])))
    observer(state, torch.ones(3), torch.ones(3))
    observer.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_UPDATES", 0.0)


def test_lines_in_a_log(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.INFO):
        observe(Progress("the/cell", victims=4, max_iterations=10))
    assert [record.getMessage() for record in caplog.records] == [
        "iteration 7 of at most 10 with 3 of 4 victims in this pass, median best loss 0.2"
    ]
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with caplog.at_level(logging.INFO):
        observe(Progress("the/cell", victims=4, max_iterations=10))
    shown = terminal.getvalue()
    assert "the/cell" in shown
    assert "3/40 it" in shown
    assert "iteration=7, victims=3, loss=0.2" in shown
    assert not caplog.records
