"""One victim that fails loses none of the others of its cell; its row, tables, pictures and curves say so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import result_rows
from helpers.tables import config
from PIL import Image
from torch import Tensor

from dia.attacks.analytic import attack as analytic_module
from dia.attacks.optimisation.initialisation import RandomInitialisation
from dia.attacks.stop_reasons import LIMIT
from dia.cli import main
from dia.datasets.victim_set import VictimSet
from dia.errors import AttackError
from dia.evaluation import experiment as experiment_module
from dia.evaluation.scores import OF_RECONSTRUCTIONS
from dia.execution.run_cell import run_cell
from dia.federated.update import ClientUpdate
from dia.gradients.factored import DenseGradient, FactoredGradient
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.reporting.expected_cells import expected_cells
from dia.reporting.figures.reconstructions import reconstructions
from dia.reporting.tables.build import build
from dia.reporting.tables.spec import TableSpec
from dia.reporting.tracking.content import picture, run_content
from dia.results.cell_file import read_cell, read_pictures, write_cell
from dia.results.collected import collect
from dia.results.columns import OF_RECONSTRUCTION, schema
from dia.settings.scenario import Settings

NOT_NUMBERS = {"seconds", "started_at", "peak_memory_mb"}
CLIENT = "failed: the client gradient is not finite; check the model and its weights"
SEARCH = "failed: the loss is not finite at iteration 0; check the model, the client gradient and the learning rate"


@pytest.fixture(scope="module")
def victim_set() -> VictimSet:
    generator = np.random.default_rng(0)
    return VictimSet(
        images=generator.integers(0, 256, (6, 12, 12, 1), dtype=np.uint8),
        labels=np.arange(6, dtype=np.int64) % 4,
        source_indices=np.arange(6, dtype=np.int64),
        mean=np.array([0.4], dtype=np.float32),
        std=np.array([0.3], dtype=np.float32),
        dataset="mnist",
        source="made up",
        source_detail="random pixels",
        num_classes=4,
    )


def job(attack: str = "dia", **changes: Any) -> AttackJob:
    cell = Cell("default", "mnist", "mlp", "0.5", attack, 0)
    settings = Settings(**({"victims": 3, "max_iterations": 8, "precision": "float64"} | changes))
    return AttackJob.from_config(cell, settings, {"source": "bundled-photos", "images": 6})


def rows(victim_set: VictimSet, attack: str = "dia", **changes: Any) -> list[dict[str, Any]]:
    return run_cell(job(attack, **changes), victim_set, device="cpu", threads=1, victims_per_chunk=1)


def spoil_clients(monkeypatch: pytest.MonkeyPatch, *victims: int) -> None:
    """What these clients send is not finite."""
    simulate = experiment_module.simulate_clients

    def spoilt(*args: Any) -> tuple[ClientUpdate, list[Tensor]]:
        received, masks = simulate(*args)
        first = next(iter(received.pieces.values()))
        (first.deltas if isinstance(first, FactoredGradient) else first.value)[list(victims)] = torch.nan
        return ClientUpdate.unchecked(received.pieces), masks

    monkeypatch.setattr(experiment_module, "simulate_clients", spoilt)


def spoil_starts(monkeypatch: pytest.MonkeyPatch, *victims: int) -> None:
    """The images that these searches start from are not finite."""
    images, spoilt = RandomInitialisation.images, [f"{number:04d}" for number in victims]

    def starts(self: RandomInitialisation, restart: int, victim_ids: list[str]) -> Tensor:
        x = images(self, restart, victim_ids)
        x[[name in spoilt for name in victim_ids]] = torch.nan
        return x

    monkeypatch.setattr(RandomInitialisation, "images", starts)


@pytest.mark.parametrize(
    ("attack", "images"), [("ig", 2), ("dia", 1), ("dia", 2), ("dia_lbfgs", 1), ("seed_search", 1)]
)
@pytest.mark.parametrize(("spoil", "reason"), [(spoil_clients, CLIENT), (spoil_starts, SEARCH)])
def test_the_others_have_the_rows_that_they_have_without_it(
    monkeypatch: pytest.MonkeyPatch,
    victim_set: VictimSet,
    tmp_path: Path,
    spoil: Callable[..., None],
    reason: str,
    attack: str,
    images: int,
) -> None:
    more = {"lbfgs_start_iteration": 3} if attack == "dia_lbfgs" else {}
    if attack == "seed_search":
        more = {"seed_candidates": 4}
    wanted = rows(victim_set, attack, batch_size=images, **more)
    spoil(monkeypatch, 1)
    found = rows(victim_set, attack, batch_size=images, **more)
    assert [row["victim_id"] for row in found] == ["0000", "0001", "0002"]
    for victim in (0, 2):
        assert found[victim].keys() == wanted[victim].keys()
        for name in wanted[victim].keys() - NOT_NUMBERS - ({"notes"} if attack == "seed_search" else set()):
            np.testing.assert_array_equal(found[victim][name], wanted[victim][name], err_msg=name)
    failed = found[1]
    assert failed["stop_reason"] == reason
    assert all(failed[name] is None for name in (*OF_RECONSTRUCTIONS, "mask_accuracy", "reconstruction"))
    assert (failed["gradient_norm"] is None) == (reason == CLIENT)
    assert failed["source_indices"] == wanted[1]["source_indices"]
    np.testing.assert_array_equal(failed["original"], wanted[1]["original"])
    assert failed["ssim_mean_image"] == wanted[1]["ssim_mean_image"]
    assert list(failed["history_iteration"]) == []
    write_cell(tmp_path / "cell.parquet", found, job(attack, batch_size=images, **more))
    assert read_cell(tmp_path / "cell.parquet")["ssim"].null_count == 1


def test_several_victims_may_fail_each_for_its_reason(
    monkeypatch: pytest.MonkeyPatch, victim_set: VictimSet, caplog: pytest.LogCaptureFixture
) -> None:
    spoil_clients(monkeypatch, 0)
    spoil_starts(monkeypatch, 2)
    found = rows(victim_set, victims=4)
    assert [row["stop_reason"] for row in found] == [CLIENT, LIMIT, SEARCH, LIMIT]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_clients, "the client gradient of each of its 3 victims is not finite"),
        (
            spoil_starts,
            r"3 of 3 victims failed \(victim 0000, 0001, 0002: the loss is not finite at iteration 0;",
        ),
    ],
)
def test_a_cell_in_which_all_victims_fail_is_an_error(
    monkeypatch: pytest.MonkeyPatch, victim_set: VictimSet, spoil: Callable[..., None], message: str
) -> None:
    spoil(monkeypatch, 0, 1, 2)
    with pytest.raises(AttackError, match=rf"cell default/mnist/mlp/p0\.5/dia/seed0: {message}"):
        rows(victim_set)


def test_the_client_gradients_norm_is_that_of_plain_autograd(victim_set: VictimSet) -> None:
    from helpers.oracle import Client, norm

    from dia.datasets.normalisation import Normalisation
    from dia.federated.client import draw_masks
    from dia.models.build import build_model

    model = build_model("mlp", (1, 12, 12), 4, 0.5, seed=0).double()
    pixels, labels = victim_set.tensors(3)
    x = Normalisation.per_channel(victim_set.mean, victim_set.std, torch.float64).normalise(pixels)
    client = Client(model, x[:1])
    sites = [type("Site", (), {"rate": 0.5, "mask_shape": lambda self, n: (n, 512)})()] * 3
    masks = draw_masks(sites, 0, ["0000", "0001", "0002"], 1, "client_masks")  # type: ignore[arg-type]
    for victim, row in enumerate(rows(victim_set)):
        own = [mask[victim].double() for mask in masks]
        expected = norm(client.gradient(x[victim][None], own, labels[victim : victim + 1]))
        assert row["gradient_norm"] == pytest.approx(float(expected), rel=1e-10)
        assert row["notes"] == ""


def test_a_small_client_gradient_is_noted_where_the_epsilon_is_absolute(
    monkeypatch: pytest.MonkeyPatch, victim_set: VictimSet
) -> None:
    simulate = experiment_module.simulate_clients

    def small(*args: Any) -> tuple[ClientUpdate, list[Tensor]]:
        received, masks = simulate(*args)
        factor = torch.tensor([1e-7, 1.0, 0.0], dtype=torch.float64)
        pieces = {n: DenseGradient(p.dense() * factor.view(-1, 1, 1)) for n, p in received.pieces.items()}
        return ClientUpdate.unchecked(dict(pieces)), masks

    monkeypatch.setattr(experiment_module, "simulate_clients", small)
    noted = ["small client gradient" in row["notes"] for row in rows(victim_set)]
    assert noted == [True, False, True]
    noted = ["small client gradient" in row["notes"] for row in rows(victim_set, cosine_epsilon="relative")]
    assert noted == [False, False, True]  # of a gradient of zero nothing can be matched


def test_the_columns_without_a_reconstruction_are_those_that_the_scores_leave_out() -> None:
    assert {column.name for column in OF_RECONSTRUCTION} == set(OF_RECONSTRUCTIONS)
    assert all(schema().field(name).nullable for name in OF_RECONSTRUCTIONS)


# What becomes of such rows.


def made(folder: Path, cell: Cell, reason: str) -> Path:
    """A cell of three victims, the second without a reconstruction."""
    written = result_rows.rows(cell, [0.9, 0.5, 0.7])
    written[1] = result_rows.rows(cell, [0.9, 0.5, 0.7], stop_reason=reason)[1]
    path = folder / cell.path
    write_cell(path, written, result_rows.job(cell, 3))
    return path


def test_dia_show_says_not_available(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made(tmp_path, result_rows.cell(), CLIENT)
    assert main(["show", str(path), "--pictures", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "n/a" in printed
    assert "no reconstruction of 1 of 3 victims (0001)" in printed
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert "victim0001_image0_original.png" in names
    assert "victim0001_image0_reconstruction.png" not in names
    assert np.asarray(Image.open(tmp_path / "out" / "overview.png")).ndim >= 2


def test_a_run_in_mlflow_leaves_it_out_of_its_means(tmp_path: Path) -> None:
    cell = result_rows.cell()
    job = result_rows.job(cell, 3)
    content = run_content(job, made(tmp_path, cell, SEARCH))
    assert content.metrics["ssim"] == pytest.approx(0.8)
    assert all(np.isfinite(values).all() for _, values in content.curves.values())
    assert len(picture(cell, made(tmp_path, cell, SEARCH))) > 100


def test_a_panel_without_a_reconstruction_says_so(tmp_path: Path) -> None:
    cell = result_rows.cell()
    path = made(tmp_path, cell, CLIENT)
    assert [victim["reconstruction"] is None for victim in read_pictures(path, cell)] == [False, True, False]
    figure = reconstructions([(result_rows.job(cell, 3), path)])
    assert sum(text.get_text() == "n/a" for axes in figure.axes for text in axes.texts) == 1


def test_tables_and_charts_leave_it_out_and_name_it(tmp_path: Path) -> None:
    of = config(dropout_rates=["0.5"], seeds=[0])
    of = of.model_copy(
        update={"scenarios": {"default": of.scenarios["default"].model_copy(update={"victims": 3})}}
    )
    pairs = [(result_rows.job(cell, 3), made(tmp_path, cell, CLIENT)) for cell in of.cells]
    collect(pairs, tmp_path / "results.parquet")
    metrics = [{"column": column, "label": column} for column in ("ssim", "success", "gradient_norm")]
    spec = TableSpec.model_validate({"title": "t", "rows": ["attack"], "metrics": metrics})
    expected = expected_cells(of).assign(victims=3)
    table = build("t", spec, expected, tmp_path / "results.parquet")
    assert [row.entries[0].estimate.value for row in table.rows] == [pytest.approx(0.8)] * 2
    assert [(row.n, row.expected) for row in table.rows] == [(2, 3)] * 2
    note = next(note for note in table.notes if "failed" in note)
    assert note.startswith("2 of 6 victims failed and are left out: ")
    assert f"{of.cells[0].id}, victim 0001 (the client gradient is not finite)" in note


def test_a_factorisation_that_fails_costs_its_victim_alone(
    victim_set: VictimSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the analytic attack; the other victims have the numbers that they have without it."""
    plain = rows(victim_set, "analytic")
    original = analytic_module.build_solver

    def failing(problem: Any) -> Callable[[int], Any]:
        solve = original(problem)

        def solve_or_fail(victim: int) -> Any:
            if victim == 1:
                torch.linalg.svd(torch.full((2, 2), torch.nan))
            return solve(victim)

        return solve_or_fail

    monkeypatch.setattr(analytic_module, "build_solver", failing)
    found = rows(victim_set, "analytic")
    assert found[1]["stop_reason"].startswith("failed: linalg.svd")
    assert all(found[1][name] is None for name in ("ssim", "mse", "matching_distance"))
    for number in (0, 2):
        assert found[number]["ssim"] == plain[number]["ssim"]
        assert found[number]["stop_reason"] == plain[number]["stop_reason"]
