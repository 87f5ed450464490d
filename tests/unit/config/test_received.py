"""A folder of updates in a config: split into cells, each known by the hashes of its own files."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.received_folder import CONFIG, DESCRIPTION, fill
from hypothesis import given
from hypothesis import strategies as st

from dia.config.config import Config
from dia.config.jobs import grid_hash, job_json
from dia.config.received import split_received
from dia.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path)
    return tmp_path / "received"


def changed(**keys: Any) -> dict[str, Any]:
    """The config with other keys of its dataset."""
    mapping = deepcopy(CONFIG)
    mapping["datasets"]["clients"] |= keys
    return mapping


def jobs(mapping: dict[str, Any] = CONFIG) -> dict[str, str]:
    config = Config.load(mapping)
    return {cell.dataset: job_json(config, cell) for cell in config.cells}


def test_a_folder_becomes_cells_of_so_many_updates(folder: Path) -> None:
    config = Config.load(CONFIG)
    assert [cell.id for cell in config.cells] == [
        "default/clients-000/net/p0.5/dia/seed0",
        "default/clients-001/net/p0.5/dia/seed0",
    ]
    assert [config.settings(cell).victims for cell in config.cells] == [2, 1]
    first = json.loads(jobs()["clients-000"])["dataset"]["contents"]
    assert list(first["updates"]) == ["client_00.npz", "client_01.npz"]
    assert list(first["originals"]) == ["client_00.npz"]
    assert "received/" not in jobs()["clients-000"]  # where the files lie is no part of what they are
    again = Config.load(json.loads(config.identity()))
    assert again.identity() == config.identity() and again.cells == config.cells


@given(files=st.integers(1, 40), size=st.integers(1, 45))
def test_every_update_is_in_one_part(files: int, size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    received = tmp_path_factory.mktemp("received")
    (received / "updates").mkdir()
    names = [f"{number:02d}.pt" for number in range(files)]
    for name in names:
        (received / "updates" / name).write_text(name)
    (received / "before.npz").write_text("weights")
    (received / "client.yaml").write_text(yaml.safe_dump(DESCRIPTION))
    where = {"updates": f"{received}/updates", "before": f"{received}/before.npz", "originals": None}
    where["settings"] = f"{received}/client.yaml"
    parts = [spec.contents for spec in Config.load(changed(**where, updates_per_cell=size)).datasets.values()]
    assert [name for part in parts for name in part["updates"]] == names
    assert {len(part["updates"]) for part in parts[:-1]} <= {size}


def test_a_changed_file_changes_the_job_of_its_part_alone(folder: Path) -> None:
    before, hashed = jobs(), grid_hash(Config.load(CONFIG))
    path = folder / "updates" / "client_02.npz"
    path.touch()
    assert jobs() == before
    path.write_bytes(b"other")
    after = jobs()
    assert after["clients-000"] == before["clients-000"] and after["clients-001"] != before["clients-001"]
    assert grid_hash(Config.load(CONFIG)) != hashed
    (folder / "originals" / "client_00.npz").unlink()
    assert jobs()["clients-000"] != before["clients-000"]


def test_another_weight_or_description_changes_every_job_and_a_comment_none(folder: Path) -> None:
    before = jobs()
    description = folder / "client.yaml"
    description.write_text(
        f"# a comment\n{description.read_text()}attack: {{max_iterations: 7}}\ntwin: false\n"
    )
    assert jobs() == before
    description.write_text(yaml.safe_dump(DESCRIPTION | {"images": 2}))
    assert all(jobs()[name] != before[name] for name in before)


def test_what_the_description_says_are_the_settings_of_the_cells(folder: Path) -> None:
    training = {"learning_rate": 0.3, "epochs": 2, "batch_size": 1}
    (folder / "client.yaml").write_text(
        yaml.safe_dump(DESCRIPTION | {"images": 2, "labels": [3, 4], "local_training": training, "dropout": "unknown"})
    )  # fmt: skip
    config = Config.load(CONFIG)
    settings = config.settings(config.cells[0])
    assert (settings.batch_size, settings.local_epochs, settings.local_batch_size) == (2, 2, 1)
    assert settings.local_learning_rate == 0.3
    assert (settings.attacker_labels, settings.attacker_dropout_rate) == ("known", "unknown")


@pytest.mark.parametrize(
    ("description", "mapping", "message"),
    [
        ({}, changed(updates="nowhere"), "datasets.clients: updates nowhere: no such folder"),
        ({}, changed(before="nowhere.npz"), "datasets.clients: before nowhere.npz: no such file"),
        ({}, changed(settings="nowhere.yaml"), "datasets.clients: cannot read the settings nowhere.yaml"),
        ({}, changed(updates="received"), "belongs to no update; name it after one"),
        ({}, changed(originals="received/updates", updates="received/originals"), "belongs to no update"),
        ({}, changed(updates_per_cell=0), "datasets.clients.updates_per_cell = 0"),
        ({"shap": 1}, CONFIG, "unknown key 'shap'; did you mean 'shape'"),
        (
            {"model": DESCRIPTION["model"] | {"arguments": {}}},
            CONFIG,
            "model 'net' is not the one of received/client",
        ),
        (
            {},
            CONFIG | {"grids": [CONFIG["grids"][0] | {"models": ["mlp"]}]},
            "model 'mlp' is not the one of received",
        ),
        ({"dropout": 0.25}, CONFIG, "dropout rate 0.5: received/client.yaml says dropout: 0.25"),
        ({}, CONFIG | {"grids": [CONFIG["grids"][0] | {"attacks": ["wiig"]}]}, "needs the client's true masks"),
        ({}, CONFIG | {"grids": [CONFIG["grids"][0] | {"attacks": ["seed_search"]}]}, "'seed_search' cannot"),
        ({}, CONFIG | {"scenarios": {"default": {"batch_size": 4}}}, "writes batch_size: 4; received/client"),
        ({}, CONFIG | {"scenarios": {"default": {"local_epochs": 2}}}, "writes local_epochs: 2; received/cl"),
        ({}, CONFIG | {"scenarios": {"default": {"attacker_labels": "known"}}}, "writes attacker_labels: known"),
        ({}, CONFIG | {"scenarios": {"default": {"federated_rounds": 2}}}, "clients who sent their updates were"),
        ({}, CONFIG | {"scenarios": {"default": {"defence_noise_std": 0.1}}}, "writes defence_noise_std: 0.1"),
        (
            {},
            CONFIG | {"scenarios": {"default": {"per_model": {"net": {"dropout_sites": "3"}}}}},
            "writes dropout_sites: 3",
        ),
        (
            {},
            CONFIG | {"datasets": CONFIG["datasets"] | {"clients-000": {"source": "bundled-mnist"}}},
            "datasets.clients-000: also the name of a part",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_any_job(
    description: dict[str, Any], mapping: dict[str, Any], message: str, folder: Path
) -> None:
    (folder / "client.yaml").write_text(yaml.safe_dump(DESCRIPTION | description))
    with pytest.raises(ConfigError) as caught:
        Config.load(mapping)
    assert message in str(caught.value)


def test_a_folder_without_updates_is_refused(folder: Path) -> None:
    for path in (folder / "updates").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(ConfigError, match=r"no file with one of \.safetensors"):
        Config.load(changed(originals=None))


def test_settings_that_agree_may_be_written(folder: Path) -> None:
    scenario = {"batch_size": 1, "attacker_labels": "inferred", "defence_noise_std": 0.0, "victims": 1}
    config = Config.load(CONFIG | {"scenarios": {"default": scenario}})
    assert [config.settings(cell).victims for cell in config.cells] == [1, 1]


def test_other_configs_are_not_touched() -> None:
    config = Config.from_file(Path(__file__).parents[3] / "config" / "test.yaml")
    assert split_received(config) == ({}, [])
