"""The compiled loss and gradients against the eager ones, in float64; what cannot be compiled falls back and says why.

One tiny graph is compiled per session, by a process of its own; all tests here find it in that cache.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import problems
from torch import Tensor

from dia.attacks.dia import build
from dia.attacks.optimisation import compilation, graph
from dia.attacks.optimisation.compilation import Compilation
from dia.attacks.optimisation.state import SearchProgress
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem
from dia.errors import AttackError

VICTIMS = 5
TOLERANCE = 1e-10


def tiny(**changes: Any) -> Problem:
    """Five victims of a small MLP, ten iterations, float64."""
    return problems.problem("mlp", victims=VICTIMS, **({"max_iterations": 10} | changes))


def run(cache: Path, of: Problem, **how: Any) -> tuple[Outcome, Compilation]:
    compiling = Compilation(True, cache)
    return build(of, VICTIMS).run(compilation=compiling, **how), compiling


def assert_close(got: Outcome, expected: Outcome, tolerance: float = TOLERANCE) -> None:
    assert got.iterations.tolist() == expected.iterations.tolist()
    pairs = [(got.x, expected.x), (got.total_loss, expected.total_loss)]
    for a, b in [*pairs, (got.matching_distance, expected.matching_distance)]:
        assert float((a - b).norm()) <= tolerance * float(b.norm())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that another process has filled."""
    folder = tmp_path_factory.mktemp("compiled")
    code = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[2]); import test_compilation as here;"
        "outcome, compiling = here.run(pathlib.Path(sys.argv[1]), here.tiny());"
        "assert compiling.used_throughout, compiling.fallback"
    )
    where = Path(__file__).parent
    path = [str(where.parents[1]), *sys.path]
    subprocess.run(
        [sys.executable, "-c", code, str(folder), str(where)],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        cwd=where.parents[2],
    )
    return folder


@pytest.fixture
def nothing_new(cache: Path) -> Iterator[None]:
    """No loop is compiled that the other process had not."""
    before = {path.name for path in cache.rglob("*.so")}
    assert before
    yield
    assert {path.name for path in cache.rglob("*.so")} == before


@pytest.mark.usefixtures("nothing_new")
def test_a_graph_that_another_process_compiled_gives_the_eager_numbers(cache: Path) -> None:
    expected = build(tiny(), VICTIMS).run()
    got, compiling = run(cache, tiny())
    assert compiling.used_throughout, compiling.fallback
    assert compiling.fallback == ""
    assert_close(got, expected)


@pytest.mark.usefixtures("nothing_new")
def test_weights_victims_and_labels_are_inputs(cache: Path) -> None:
    """Another seed has other weights, images, labels and masks, and the same graph."""
    of = tiny(seed=5)
    expected = build(of, VICTIMS).run()
    got, compiling = run(cache, of)
    assert compiling.used_throughout, compiling.fallback
    assert_close(got, expected)


@pytest.mark.usefixtures("nothing_new")
def test_four_victims_in_a_graph_for_five(cache: Path) -> None:
    """What fills the fifth place does not matter: bit by bit the numbers of the same four beside another victim."""
    of = tiny()
    full, _ = run(cache, of)
    four = of.select(torch.arange(4))
    compiling = Compilation(True, cache)
    got = build(four, VICTIMS).run(compilation=compiling)
    assert compiling.used_throughout, compiling.fallback
    assert torch.equal(got.x, full.x[:4])
    assert torch.equal(got.total_loss, full.total_loss[:4])


@pytest.mark.usefixtures("nothing_new")
def test_victims_that_stop_leave_the_others_alone(cache: Path) -> None:
    """The victim with the smallest loss stops; the graph for five goes on with four."""
    best = build(tiny(), VICTIMS).run().total_loss.min()
    of = tiny(loss_tolerance=float(best) * (1 + 1e-6), max_iterations=11)
    eager = build(of, VICTIMS).run()
    assert sorted(eager.iterations.tolist())[:2] == [10, 11]
    got, compiling = run(cache, of)
    assert compiling.used_throughout, compiling.fallback
    assert_close(got, eager)


@pytest.mark.usefixtures("nothing_new")
def test_resumed_in_the_middle(cache: Path) -> None:
    whole, _ = run(cache, tiny())
    saved: list[SearchProgress] = []

    class Stop(Exception):
        pass

    def stop(progress: SearchProgress) -> None:
        if progress.active[0].iteration == 4:
            saved.append(progress)
            raise Stop

    with pytest.raises(Stop):
        run(cache, tiny(), on_iteration=stop)
    got, compiling = run(cache, tiny(), resume=saved[0])
    assert compiling.used_throughout
    assert torch.equal(got.x, whole.x)
    assert torch.equal(got.total_loss, whole.total_loss)


@pytest.mark.usefixtures("nothing_new")
def test_a_wrong_graph_is_found_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = graph.compiled

    def wrong(*args: Any) -> Callable[..., list[Tensor]]:
        right = plain(*args)
        return lambda *tensors: [*right(*tensors)[:-1], right(*tensors)[-1] * 1.01]

    monkeypatch.setattr(compilation, "compiled", wrong)
    said: list[str] = []
    got, compiling = run(cache, tiny(), notify=said.append)
    assert "differ from the engine's" in compiling.fallback
    assert not compiling.used_throughout
    assert said == [f"not compiled: {compiling.fallback}"]
    assert_close(got, build(tiny(), VICTIMS).run(), 0)


def test_a_compiler_that_fails_costs_nothing_but_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("internal compiler error\nin cc1plus")

    monkeypatch.setattr(compilation, "compiled", fail)
    said: list[str] = []
    got, compiling = run(tmp_path, tiny(), notify=said.append)
    assert compiling.fallback == "RuntimeError: internal compiler error"
    assert said == ["not compiled: RuntimeError: internal compiler error"]
    assert not compiling.used_throughout
    assert_close(got, build(tiny(), VICTIMS).run(), 0)


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    said: list[str] = []
    got, compiling = run(tmp_path, tiny(), notify=said.append)
    assert compiling.fallback == "there is no C++ compiler (no-such-compiler)"
    assert said == [f"not compiled: {compiling.fallback}"]
    assert_close(got, build(tiny(), VICTIMS).run(), 0)


def test_running_out_of_memory_is_not_a_reason_to_give_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(compilation, "compiled", full)
    compiling = Compilation(True, tmp_path)
    with pytest.raises(AttackError, match="alone does not fit"):
        build(tiny(), VICTIMS).run(compilation=compiling)


def test_parameters_of_single_victims_are_not_compiled(tmp_path: Path) -> None:
    of = tiny()
    of.model.per_victim_parameters.append(next(iter(of.model.parameters)))
    _, compiling = run(tmp_path, of)
    assert compiling.fallback == "gradients are computed one victim at a time"


def test_auto_compiles_nothing_yet(tmp_path: Path) -> None:
    compiling = Compilation("auto", tmp_path)
    build(tiny(), VICTIMS).run(compilation=compiling, notify=pytest.fail)
    assert (compiling.used_throughout, compiling.fallback) == (False, "auto does not compile yet")


def test_not_asked_for(tmp_path: Path) -> None:
    compiling = Compilation(False, tmp_path)
    build(tiny(), VICTIMS).run(compilation=compiling)
    assert (compiling.used_throughout, compiling.fallback) == (False, "")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("count", "largest", "size"),
    [(8, 8, 8), (5, 8, 8), (4, 8, 4), (1, 8, 1), (7, 7, 7), (4, 7, 4), (2, 7, 2), (3, 1, 3)],
)
def test_sizes_of_graphs(count: int, largest: int, size: int) -> None:
    assert compilation._padded(count, largest) == size
