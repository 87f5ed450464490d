"""How many victims share a pass when nobody says."""

import pytest
from small_problems import mlp, problem, vit

from dia.attacks import dia, memory


def test_a_pass_fills_half_of_what_is_free_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    attacked, _ = problem(vit(), victims=12)

    def victims(free: float) -> int:
        monkeypatch.setattr(memory, "_free_bytes", lambda device: int(free))
        return dia.prepare(attacked).per_pass

    assert victims(2**40) == 12  # all there are
    assert victims(0) == 1  # at least one, whatever is free
    few = next(free for exponent in range(10, 40) if victims(free := 2**exponent) >= 3)
    assert victims(2 * few) in range(
        2 * victims(few) - 1, 2 * victims(few) + 2
    )  # twice the room, twice as many


def test_a_processor_takes_more_victims_of_a_small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free_bytes", lambda device: 2**40)
    monkeypatch.setitem(memory.ENOUGH_BYTES, "cpu", 2**20)
    counts = []
    for build in (mlp(), vit()):
        attacked, _ = problem(build, victims=40)
        counts.append(dia.prepare(attacked).per_pass)
    assert counts[0] > counts[1] >= 1
    assert counts[1] < 40
