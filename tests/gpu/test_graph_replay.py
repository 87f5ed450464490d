"""Evaluations replayed as CUDA graphs, on the pretend GPU: the same rows, one launch, and a reason where it fails."""

from typing import Any

import pytest
import torch
from gpu.fake_graph import FakeGraph, fake_graphs
from gpu.pretend import CUDA, pretend_gpu, reset
from gpu.test_pretend_cells import LOCAL, assert_same_rows
from helpers.small_cells import LBFGS, make_job, run

from dia.attacks.optimisation import attack
from dia.attacks.optimisation.graph_replay import WARM_UP, GraphReplay

OF_GRAPHS = {"cuda_graph", "cuda_graph_fallback"}
ANNEALED = {"tv_initial_factor": 100.0, "tv_decay_iterations": 5, "learning_rate_schedule": "cosine"}


def without(columns: set[str], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in columns} for row in rows]


def replayed(job: Any, **how: Any) -> list[dict[str, Any]]:
    with pretend_gpu(), fake_graphs():
        return run(job, "cuda:0", cuda_graph=True, **how)


@pytest.mark.parametrize(
    ("attack_name", "model", "settings"),
    [
        ("dia", "mlp", {}),
        ("dia", "mlp", ANNEALED),
        ("dia", "mlp", {**LBFGS, **ANNEALED}),
        ("dia", "mlp", {**LOCAL, "mask_parametrisation": "sigmoid"}),
        ("dia_readout", "mlp", {}),
        ("ig", "lenet", {}),
        ("dia", "vit", {}),
    ],
)
def test_rows_are_those_of_the_cpu(attack_name: str, model: str, settings: dict[str, Any]) -> None:
    job = make_job(attack_name, model, **{"max_iterations": 6, **settings})
    expected = run(job, "cpu")
    found = replayed(job)
    assert {(row["cuda_graph"], row["cuda_graph_fallback"]) for row in found} == {(True, "")}
    assert_same_rows(without(OF_GRAPHS, found), without(OF_GRAPHS, expected))


def test_every_chunk_and_every_remainder_has_its_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Victims that stop leave the chunk, and the others are somewhere else from then on."""
    captured: list[FakeGraph] = []
    plain = FakeGraph.captured
    monkeypatch.setattr(FakeGraph, "captured", lambda graph: (captured.append(graph), plain(graph))[1])
    job = make_job("dia", victims=3, early_stop_patience=1, learning_rate=0.5, max_iterations=45)
    expected = run(job, "cpu", victims_per_chunk=2)
    found = replayed(job, victims_per_chunk=2)
    assert len({row["iterations"] for row in expected}) > 1
    assert len(captured) == 3
    assert_same_rows(without(OF_GRAPHS, found), without(OF_GRAPHS, expected), rtol=1e-9)


def test_an_iteration_launches_the_evaluation_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    plain = attack.GradientMatchingAttack._iterate

    def iterate(self: Any, *arguments: Any) -> None:
        reset()
        plain(self, *arguments[:2], None)
        counted.append(reset())

    monkeypatch.setattr(attack.GradientMatchingAttack, "_iterate", iterate)
    replayed(make_job("dia", "vit", max_iterations=6, loss_tolerance=0.0))
    first, last = counted[0], counted[-1]
    assert first.launches["graph"] == 0 and last.launches["graph"] == 1
    assert sum(last.launches.values()) < sum(first.launches.values()) / 4
    assert not last.synchronisations and not last.copies
    assert counted[-2].operations == last.operations


def test_without_a_gpu_nothing_is_captured_and_the_rows_say_so() -> None:
    job = make_job("ig", max_iterations=2)
    for row in run(job, "cpu", cuda_graph=True):
        assert (row["cuda_graph"], row["cuda_graph_fallback"]) == (False, "the device is no GPU")
    for row in run(job, "cpu"):
        assert (row["cuda_graph"], row["cuda_graph_fallback"]) == (False, "")


def waits(*arguments: Any) -> Any:
    found = EVALUATE(*arguments)
    float(found.total_loss.sum())
    return found


def differs(*arguments: Any) -> Any:
    """As a model that counts its own calls in Python: a replay repeats the number that it was captured with."""
    differs.calls += 1.0  # type: ignore[attr-defined]
    found = EVALUATE(*arguments)
    found.total_loss.add_(differs.calls)  # type: ignore[attr-defined]
    return found


def runs_out(*arguments: Any) -> Any:
    if arguments[-1] is not None and isinstance(arguments[-1], torch.Tensor):
        raise torch.OutOfMemoryError("CUDA out of memory")
    return EVALUATE(*arguments)


differs.calls = 0.0  # type: ignore[attr-defined]
EVALUATE = attack.evaluate


@pytest.mark.parametrize(
    ("evaluate", "reason"),
    [
        (waits, r"could not be captured: CUDA error: operation not permitted when stream is capturing"),
        (differs, r"a replay did not give what was computed before"),
        (runs_out, r"could not be captured: no memory is left for it"),
    ],
)
def test_what_cannot_be_replayed_is_computed(
    evaluate: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attack, "evaluate", evaluate)
    found = replayed(make_job("dia", max_iterations=WARM_UP + 3))
    for row in found:
        assert row["iterations"] == WARM_UP + 3
        assert reason in row["cuda_graph_fallback"]
        assert not row["cuda_graph"]


def test_what_was_captured_is_no_result_before_it_is_replayed() -> None:
    """Else the fake would hide a missing replay."""
    with pretend_gpu(), fake_graphs():
        value = torch.ones(3, device=CUDA)
        graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.Stream()):
            doubled = value * 2
        assert doubled.cpu().isnan().all()
        for number in (1.0, 4.0):
            value.fill_(number)
            graph.replay()
            assert doubled.cpu().tolist() == [2 * number] * 3


def test_nothing_is_tried_where_nothing_was_asked_for() -> None:
    graphs = GraphReplay(False)
    sentinel: Any = object()
    assert graphs(lambda *arguments: sentinel, sentinel, sentinel, 1.0) is sentinel
    assert (graphs.replayed, graphs.fallback) == (False, "")
