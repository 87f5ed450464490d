"""Cells whose victims are the updates of real clients: rows like any other, and what `dia.invert` finds."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers.real_clients import NORMALISATION, SHAPE, network, train_client
from helpers.received_folder import CONFIG, DESCRIPTION, fill, write_update

import dia
from dia.config.config import Config
from dia.config.jobs import attack_job
from dia.errors import UpdateError, VictimError
from dia.execution.run_cell import run_cell
from dia.inversion.received_set import ReceivedSet
from dia.results.cell_file import read_cell, read_pictures, write_cell
from dia.results.columns import AGAINST_TRUTH

Rows = list[dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def victims(config: Config, name: str = "clients-000") -> ReceivedSet:
    """The victim set of a part, written and read again."""
    ReceivedSet.make(config.dataset(name), name).save("victims.npz")
    return ReceivedSet.load("victims.npz")


def rows_of(mapping: dict[str, Any] = CONFIG, number: int = 0) -> Rows:
    """The rows of a cell, checked as they are when they are written."""
    config = Config.load(mapping)
    cell = config.cells[number]
    job = attack_job(config, cell)
    rows = run_cell(
        job, victims(config, cell.dataset), device="cpu", threads=1, victims_per_chunk=None
    )  # fmt: skip
    write_cell("cell.parquet", rows, job)
    return read_cell("cell.parquet", job).to_pylist()


def test_a_cell_finds_what_invert_finds(folder: Path) -> None:
    mapping = deepcopy(CONFIG)
    mapping["datasets"]["clients"]["updates_per_cell"] = (
        1  # an attack's starts are drawn by the number within the cell
    )
    for number, client in enumerate(fill(folder, 2)):
        (row,) = rows_of(mapping, number)
        r = dia.invert(
            network(), client.after, kind="weights", shape=SHAPE, **NORMALISATION, protocol=dia.FedSGD(0.1),
            method="dia", max_iterations=3, precision="float64",
        )  # fmt: skip
        assert row["labels"] == r.labels.tolist() == [number]
        assert row["matching_distance"] == pytest.approx(r.distance, rel=1e-9)
        assert np.allclose(np.reshape(row["reconstruction"], (1, *SHAPE)), r.images, atol=1e-6)
        if number == 0:
            assert row["ssim"] == pytest.approx(float(dia.score(r.images, client.images).ssim), rel=1e-5)


def test_scores_are_null_where_nobody_has_the_images(folder: Path) -> None:
    fill(folder, 2, originals=(0,))
    known, unknown = rows_of()
    for column in AGAINST_TRUTH:
        assert known[column.name] is not None and unknown[column.name] is None
    assert unknown["original"] is None and unknown["original_png"] is None
    assert unknown["reconstruction"] and unknown["matching_distance"] > 0 and unknown["gradient_norm"] > 0
    assert len(known["history_mse"]) == len(known["history_iteration"]) == len(unknown["history_iteration"])
    assert unknown["history_mse"] == [] and known["history_mask_accuracy"] == []
    assert known["mask_accuracy"] is None and known["identified_chance"] == 1.0  # of one private image
    pictures = read_pictures("cell.parquet")
    assert pictures[1]["original"] is None and pictures[1]["reconstruction"].shape == (1, *SHAPE)


def test_every_row_names_its_file_and_hash(folder: Path) -> None:
    fill(folder, 3)
    rows = rows_of(number=1)
    assert [row["update_file"] for row in rows] == ["client_02.npz"]
    spec = Config.load(CONFIG).dataset("clients-001")
    assert [row["update_sha256"] for row in rows] == list(spec.contents["updates"].values())
    assert rows[0]["source"] == "received"


BAD = {
    "junk": b"junk",
    "empty": b"",
    "not finite": {"1.weight": np.full((64, 144), np.nan, np.float32)},
    "transposed": {"1.weight": np.zeros((144, 64), np.float32)},
    "unchanged": {},
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_does_not_lose_the_other_victims(kind: str, folder: Path) -> None:
    clients = fill(folder, 2)
    path = folder / "received" / "updates" / "client_00.npz"
    if isinstance(BAD[kind], bytes):
        path.write_bytes(BAD[kind])
    else:
        weights = {name: value.numpy() for name, value in clients[0].before.items()}
        np.savez(path, **weights | BAD[kind])
    bad, good = rows_of()
    assert bad["stop_reason"].startswith("refused: ") and len(bad["stop_reason"]) > 40
    assert bad["labels"] is None and bad["reconstruction"] is None and bad["original"] is None
    assert bad["update_file"] == "client_00.npz" and bad["history_iteration"] == []
    assert good["victim_id"] == "0001" and good["reconstruction"] is not None


def test_a_cell_whose_every_update_is_refused_has_rows(folder: Path) -> None:
    fill(folder, 2)
    for path in (folder / "received" / "updates").iterdir():
        path.write_bytes(b"junk")
    rows = rows_of()
    assert [row["stop_reason"].split(":")[0] for row in rows] == ["refused", "refused"]
    assert [row["iterations"] for row in rows] == [0, 0]


def test_doubts_are_in_the_notes(folder: Path) -> None:
    client = fill(folder, 2)[0]
    wrong = {name: client.before[name] - 30 * client.difference[name] for name in client.before}
    np.savez(folder / "received" / "updates" / "client_00.npz", *(v.numpy() for v in wrong.values()))
    odd, plain = rows_of()
    assert "sign" in odd["stop_reason"] or "sign" in odd["notes"]
    assert "do not explain the update" in plain["notes"]  # three iterations are too few
    assert "sign" not in plain["notes"]


def test_several_local_steps_and_images(folder: Path) -> None:
    fill(folder, 2, images=1, epochs=2)
    training = DESCRIPTION["local_training"] | {"epochs": 2}
    (folder / "received" / "client.yaml").write_text(
        yaml.safe_dump(DESCRIPTION | {"local_training": training})
    )
    rows = rows_of()
    assert {row["local_epochs"] for row in rows} == {2}
    assert [row["labels"] for row in rows] == [[0], [1]]


def test_a_file_that_changed_since_the_config_was_read_is_refused(folder: Path) -> None:
    fill(folder, 2)
    config = Config.load(CONFIG)
    write_update(folder, 1, train_client(seed=9, labels=[9]))
    made = ReceivedSet.make(config.dataset("clients-000"), "clients-000")
    assert [bool(victim.refusal) for victim in made.victims] == [False, True]
    assert "changed since the config was read" in made.victims[1].refusal
    np.savez(folder / "received" / "before.npz", np.zeros(3))
    with pytest.raises(UpdateError, match="changed since the config was read"):
        ReceivedSet.make(config.dataset("clients-000"), "clients-000")


def test_what_the_server_sent_must_fit_the_model(folder: Path) -> None:
    fill(folder, 2)
    np.savez(folder / "received" / "before.npz", np.zeros(3))
    with pytest.raises(UpdateError, match=r"before \(received/before.npz\): a list of 1 tensors"):
        victims(Config.load(CONFIG))


def test_damaged_private_images_are_named(folder: Path) -> None:
    fill(folder, 1)
    np.savez(folder / "received" / "originals" / "client_00.npz", images=np.full((1, *SHAPE), 255.0))
    (row,) = rows_of()
    assert "originals received/originals/client_00.npz" in row["stop_reason"]


def test_the_stored_set_is_whole_and_the_same(folder: Path) -> None:
    fill(folder, 2)
    config = Config.load(CONFIG)
    made = ReceivedSet.make(config.dataset("clients-000"), "clients-000")
    read = victims(config)
    assert (read.sha256, read.victims, read.client) == (made.sha256, made.victims, made.client)
    for stored, own in zip((*read.updates, read.before), (*made.updates, made.before), strict=True):
        assert stored.keys() == own.keys()
        assert all(torch.equal(torch.tensor(stored[name]), torch.tensor(own[name])) for name in own)
    assert "2 updates, 0 of them refused, 1 with private images" in made.describe()[0]
    Path("victims.npz").write_bytes(Path("received/before.npz").read_bytes())
    with pytest.raises(VictimError, match="not one of received updates"):
        ReceivedSet.load("victims.npz")
