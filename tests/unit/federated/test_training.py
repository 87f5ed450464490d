"""Federated training: against a plain loop, victims left out, files, identity, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dia.cli import main
from dia.config.config import Config
from dia.config.jobs import training_jobs
from dia.datasets.registry import DatasetSpec, parse_dataset
from dia.datasets.train_test_split import Split, training_split
from dia.datasets.victim_selection import make_victims
from dia.datasets.victim_set import VictimSet
from dia.errors import AttackError, ModelError, RecordError, TrainingError, VictimError
from dia.evaluation.experiment import build_experiment
from dia.federated.trained_model import TrainedModel
from dia.federated.training import train
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.jobs.training_job import TrainingJob
from dia.models.build import build_model
from dia.results.utility import collect_utility
from dia.settings.scenario import Settings

CPU = torch.device("cpu")
SMALL = {
    "victims": 2,
    "federated_rounds": 2,
    "training_clients": 2,
    "training_batch_size": 4,
    "training_images": 40,
    "test_images": 30,
}


@pytest.fixture(scope="module")
def own_images(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    """200 images of three classes, each with another third bright."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 3
    bright = np.arange(12)[None, None, :] // 4 == labels[:, None, None]
    images = np.clip(60 + 120 * bright + rng.normal(0, 20, (200, 12, 12)), 0, 255)
    path = tmp_path_factory.mktemp("images") / "own.npz"
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    definition = {"source": "file", "path": str(path), "num_classes": 3, "normalisation": "mnist"}
    return parse_dataset(json.dumps(definition | {"images": 20}), "own")


def job(spec: DatasetSpec, p: str = "0.5", attack: str = "ig", **settings: Any) -> AttackJob:
    cell = Cell("default", "own", "mlp", p, attack, 0)
    return AttackJob.from_config(cell, Settings(**SMALL | settings), spec.model_dump(mode="json"))


def trained(spec: DatasetSpec, p: str = "0.5", **settings: Any) -> tuple[TrainedModel, VictimSet, Split]:
    wanted = TrainingJob.from_attack(job(spec, p, **settings))
    assert wanted is not None
    victims = make_victims(spec, "own")
    split = training_split(spec, "own", victims, wanted.settings.training_images, wanted.settings.test_images)
    return train(wanted, split, victims, CPU), victims, split


def test_victims_are_neither_trained_nor_tested_on(own_images: DatasetSpec) -> None:
    victims = make_victims(own_images, "own")
    split = training_split(own_images, "own", victims, 1000, 1000)
    assert (len(split.train_labels), len(split.test_labels)) == (144, 36)  # 180 left, a fifth of them tested
    parts = (victims.images, split.train_images, split.test_images)
    seen = [image.tobytes() for part in parts for image in part]
    assert len(seen) == len(set(seen)) == 200
    assert np.bincount(split.train_labels[:30]).tolist() == [10, 10, 10]


def test_the_bundled_digits_leave_enough() -> None:
    spec = parse_dataset('{"source": "bundled-mnist", "images": 128}', "mnist")
    split = training_split(spec, "mnist", make_victims(spec, "mnist"), 10_000, 2_000)
    assert (len(split.train_labels), len(split.test_labels)) == (3898, 974)


def test_photos_offer_other_crops() -> None:
    spec = parse_dataset('{"source": "bundled-photos", "images": 16, "size": 16}', "photos")
    split = training_split(spec, "photos", make_victims(spec, "photos"), 24, 8)
    assert split.train_images.shape == (24, 16, 16, 3)
    assert np.bincount(split.test_labels).tolist() == [1] * 8


def test_a_source_without_further_images_is_refused(own_images: DatasetSpec) -> None:
    spec = own_images.model_copy(update={"images": 200})
    with pytest.raises(VictimError, match="200 images leave none to train or test on beside 200 victims"):
        training_split(spec, "own", make_victims(spec, "own"), 10, 10)


def test_another_version_of_the_source_is_refused(own_images: DatasetSpec) -> None:
    victims = make_victims(own_images, "own")
    moved = replace(victims, source_indices=victims.source_indices + 1)
    with pytest.raises(VictimError, match="another version of the source"):
        training_split(own_images, "own", moved, 10, 10)


@pytest.mark.parametrize("local", [False, True], ids=["FedSGD", "FedAvg"])
def test_rounds_are_those_of_a_plain_loop(own_images: DatasetSpec, local: bool) -> None:
    """Without dropout all of it can be written with torch.optim.SGD on one client after another."""
    extra = {"local_epochs": 2, "local_learning_rate": 0.05} if local else {"server_learning_rate": 0.2}
    model, victims, split = trained(own_images, p="0", precision="float64", **extra)
    server = build_model("mlp", victims.shape, 3, 0.0, 0).double()
    order = torch.randperm(40, generator=_rng("training_clients"))
    x = torch.tensor(split.train_images).movedim(-1, 1).double() / 255
    x = (x - torch.tensor(victims.mean).double()) / torch.tensor(victims.std).double()
    for number in (1, 2):
        chosen = torch.randperm(10, generator=_rng("training_round", number))[:2].tolist()
        moved = [torch.zeros_like(p) for p in server.parameters()]
        for client in chosen:
            mine = order[4 * client : 4 * client + 4]
            copy = build_model("mlp", victims.shape, 3, 0.0, 0).double()
            copy.load_state_dict(server.state_dict())
            optimizer = torch.optim.SGD(copy.parameters(), lr=0.05 if local else 0.2)
            for _ in range(2 if local else 1):
                optimizer.zero_grad()
                loss = F.cross_entropy(copy(x[mine]), torch.tensor(split.train_labels)[mine])
                loss.backward()
                optimizer.step()
            for total, old, new in zip(moved, server.parameters(), copy.parameters(), strict=True):
                total += (new.detach() - old.detach()) / 2
        with torch.no_grad():
            for parameter, step in zip(server.parameters(), moved, strict=True):
                parameter += step
    for name, value in server.state_dict().items():
        np.testing.assert_allclose(model.state[name], value.numpy(), rtol=0, atol=1e-12)


def _rng(*names: object) -> torch.Generator:
    from dia.utils.randomness import generator

    return generator(0, *names)


def test_training_learns_and_its_worth_is_measured(own_images: DatasetSpec) -> None:
    settings: dict[str, Any] = {"federated_rounds": 40, "training_clients": 4, "server_learning_rate": 0.02}
    settings |= {"training_images": 144, "test_images": 36}
    model, _, split = trained(own_images, **settings)
    assert model.utility["test_accuracy"] > 0.9
    assert model.utility["test_accuracy_chance"] == pytest.approx(1 / 3)
    assert (model.utility["tested_images"], model.utility["train_images"]) == (36, 144)
    again, *_ = trained(own_images, **settings)
    assert all(np.array_equal(model.state[name], again.state[name]) for name in model.state)
    hardly, *_ = trained(own_images, **settings | {"federated_rounds": 1})
    assert hardly.utility["test_loss"] > model.utility["test_loss"] + 0.1
    noisy, *_ = trained(own_images, **settings, defence_noise_std=0.1)
    assert all(not np.array_equal(noisy.state[name], model.state[name]) for name in model.state)
    assert noisy.utility["test_loss"] != model.utility["test_loss"]
    assert len(split.test_labels) == 36


def test_dropout_is_drawn_anew_in_every_round(own_images: DatasetSpec) -> None:
    one, *_ = trained(own_images, p="0.5")
    none, *_ = trained(own_images, p="0")
    assert any(not np.array_equal(one.state[name], none.state[name]) for name in one.state)


def test_a_diverging_training_is_refused(own_images: DatasetSpec) -> None:
    with pytest.raises(TrainingError, match=r"diverges in round \d+ of 30; lower server_learning_rate"):
        trained(own_images, federated_rounds=30, server_learning_rate=1e30)


def test_too_few_clients_are_refused(own_images: DatasetSpec) -> None:
    with pytest.raises(
        TrainingError,
        match="40 training images make 10 clients of 4 images, and a round takes 11",
    ):
        trained(own_images, training_clients=11)


def test_the_file_comes_back_and_holds_no_pickle(own_images: DatasetSpec, tmp_path: Path) -> None:
    model, victims, _ = trained(own_images)
    model.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as arrays:
        assert {name: arrays[name].dtype.kind for name in arrays.files}.keys() >= {"meta"}
    back = TrainedModel.load(tmp_path / "model.npz")
    assert (back.job, back.utility, back.victims_sha256) == (model.job, model.utility, victims.sha256)
    assert all(np.array_equal(back.state[name], value) for name, value in model.state.items())
    other = TrainingJob.from_attack(job(own_images, server_learning_rate=0.2))
    assert other is not None
    with pytest.raises(ModelError, match="was trained otherwise than this cell asks for"):
        back.check(other.canonical_json(), victims.sha256, "model.npz")
    with pytest.raises(ModelError, match="beside another victim set"):
        back.check(model.job, "0" * 64, "model.npz")
    with pytest.raises(ModelError, match="trained weights do not fit the model"):
        back.load_into(nn.Linear(2, 2))
    (tmp_path / "model.npz").write_bytes((tmp_path / "model.npz").read_bytes()[:1000])
    with pytest.raises(ModelError, match="truncated, damaged"):
        TrainedModel.load(tmp_path / "model.npz")
    with pytest.raises(ModelError, match="no such file"):
        TrainedModel.load(tmp_path / "absent.npz")


def test_cells_attack_the_trained_model(own_images: DatasetSpec) -> None:
    model, victims, _ = trained(own_images)
    experiment = build_experiment(job(own_images), victims, CPU, model)
    for name, value in experiment.problem.model.model.state_dict().items():
        assert np.array_equal(value.numpy(), model.state[name])
    with pytest.raises(AttackError, match=r"needs its trained model \(--trained\): federated_rounds is 2"):
        build_experiment(job(own_images), victims, CPU)
    with pytest.raises(AttackError, match="attacks an untrained model: federated_rounds is 0"):
        build_experiment(job(own_images, federated_rounds=0), victims, CPU, model)


def test_a_wrong_rate_is_assumed_of_the_same_weights(own_images: DatasetSpec) -> None:
    model, victims, _ = trained(own_images)
    experiment = build_experiment(
        job(own_images, attack="dia", attacker_dropout_rate=0.2), victims, CPU, model
    )
    for name, value in experiment.problem.model.model.state_dict().items():
        assert np.array_equal(value.numpy(), model.state[name])


ATTACKERS = {"attacker_labels": "inferred", "max_iterations": 7, "victims": 1, "attacker_dropout_rate": 0.1}
OWN_MODEL = {
    "federated_rounds": 3,
    "local_epochs": 1,
    "defence_noise_std": 0.1,
    "training_clients": 3,
    "test_images": 20,
    "precision": "float64",
}


def test_only_settings_of_training_make_another_model(own_images: DatasetSpec) -> None:
    base = TrainingJob.from_attack(job(own_images))
    assert base is not None
    for key, value in ATTACKERS.items():
        assert TrainingJob.from_attack(job(own_images, **{key: value})) == base, key
    names = {base.name}
    for key, value in OWN_MODEL.items():
        other = TrainingJob.from_attack(job(own_images, **{key: value}))
        assert other is not None
        names.add(other.name)
    assert len(names) == 1 + len(OWN_MODEL)
    assert base.name.startswith("own/mlp/p0.5/seed0/rounds2-")
    assert TrainingJob.parse(base.canonical_json()) == base
    assert TrainingJob.from_attack(job(own_images, federated_rounds=0)) is None


def test_scenarios_share_a_model() -> None:
    grid = {
        "datasets": ["m"],
        "models": ["mlp"],
        "dropout_rates": ["0", "0.5"],
        "attacks": ["ig", "dia"],
        "seeds": [0],
    }
    config = Config.load(
        {
            "name": "shared",
            "datasets": {"m": {"source": "bundled-mnist"}},
            "scenarios": {
                "a": {"federated_rounds": 5},
                "b": {"federated_rounds": 5, "attacker_labels": "inferred"},
                "c": {"federated_rounds": 6},
                "d": {},
            },
            "grids": [grid | {"scenario": name} for name in "abcd"],
        }
    )
    assert sorted(name.rpartition("-")[0] for name in training_jobs(config)) == [
        f"m/mlp/p{p}/seed0/rounds{k}" for p in ("0.5", "0") for k in (5, 6)
    ]


def test_the_verbs_train_attack_and_collect(own_images: DatasetSpec, tmp_path: Path) -> None:
    victims, out = tmp_path / "victims.npz", {n: tmp_path / n for n in ("model.npz", "model.parquet")}
    make_victims(own_images, "own").save(victims)
    cell = job(own_images, max_iterations=2)
    wanted = TrainingJob.from_attack(cell)
    assert wanted is not None
    place = own_images.model_dump_json()
    arguments = [
        "train",
        "--job",
        wanted.canonical_json(),
        "--dataset-json",
        place,
        "--victims",
        str(victims),
    ]
    arguments += ["--out", str(out["model.npz"]), "--utility", str(out["model.parquet"]), "--device", "cpu"]
    assert main(arguments) == 0
    attack = ["attack", "--job", cell.canonical_json(), "--victims", str(victims), "--device", "cpu"]
    attack += ["--out", str(tmp_path / "cell.parquet")]
    assert main([*attack, "--trained", str(out["model.npz"])]) == 0
    rows = pq.read_table(tmp_path / "cell.parquet").to_pylist()
    assert main(["utility", str(out["model.parquet"]), "--out", str(tmp_path / "utility.parquet")]) == 0
    (row,) = pq.read_table(tmp_path / "utility.parquet").to_pylist()
    assert {r["test_accuracy"] for r in rows} == {row["test_accuracy"]}
    assert (row["dataset"], row["model"], row["dropout_rate"]) == ("own", "mlp", "0.5")
    assert (row["trained_model"], row["federated_rounds"]) == (wanted.name, 2)
    assert main([*attack, "--trained"]) == 1  # an untrained cell's rule passes no file
    with pytest.raises(RecordError, match="not a readable utility file"):
        collect_utility([victims], tmp_path / "utility.parquet")
    with pytest.raises(RecordError, match="not the utility of one model"):
        collect_utility([tmp_path / "cell.parquet"], tmp_path / "utility.parquet")
