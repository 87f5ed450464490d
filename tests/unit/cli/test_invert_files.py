"""``dia invert``: from files to a folder."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from helpers.real_clients import CLASSES, MEAN, SHAPE, STD, Client, train_client
from safetensors.torch import save_file

from dia.cli import main

SETTINGS: dict[str, Any] = {
    "model": {"factory": "module:helpers.real_clients.network"},
    "kind": "weights",
    "shape": list(SHAPE),
    "classes": CLASSES,
    "mean": [MEAN],
    "std": [STD],
    "local_training": {"learning_rate": 0.1},
    "attack": {"method": "dia_lbfgs", "max_iterations": 200},
}


@pytest.fixture(scope="module")
def client() -> Client:
    return train_client()


def invert(client: Client, folder: Path, *options: str, **changes: Any) -> int:
    """Run the verb on a client's files."""
    save_file(client.before, folder / "before.safetensors")
    np.savez(folder / "after.npz", *(value.numpy() for value in client.after.values()))
    np.savez(folder / "originals.npz", images=client.images.numpy())
    (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS | changes))
    names = {"before": "before.safetensors", "update": "after.npz", "settings": "settings.yaml", "out": "out"}
    arguments = [part for name, file in names.items() for part in (f"--{name}", str(folder / file))]
    return main(["invert", *arguments, "--device", "cpu", *options])


def test_a_folder_with_pictures_rows_and_a_report(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invert(client, tmp_path, "--originals", str(tmp_path / "originals.npz")) == 0
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "image_00.png", "original_00.png", "twin_00.png", "twin_original_00.png",
        "result.parquet", "result.json", "report.html",
    }  # fmt: skip
    result = json.loads((out / "result.json").read_text())
    assert (
        result["ssim"][0] > 0.9
        and result["labels"] == client.labels.tolist()
        and result["twin"]["ssim"][0] > 0.9
    )
    (row,) = pq.read_table(out / "result.parquet").to_pylist()
    assert (
        row["ssim"] == result["ssim"][0] and row["reconstruction_png"] == (out / "image_00.png").read_bytes()
    )
    page = (out / "report.html").read_text()
    assert page.count("<img") == 4 and "Nothing speaks against" in page
    printed = capsys.readouterr().out
    assert "gradient norm of 1.weight: " in printed and "SSIM" in printed


def test_without_originals_no_score_is_pretended(client: Client, tmp_path: Path) -> None:
    assert invert(client, tmp_path, twin=False) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["ssim"] is None and result["twin"] is None
    (row,) = pq.read_table(tmp_path / "out" / "result.parquet").to_pylist()
    assert row["ssim"] is None and row["distance"] == result["distance"]
    assert "no originals" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"modle": 1}, "unknown key 'modle'; did you mean 'model'"),
        ({"kind": "weight"}, "kind = 'weight': must be"),
        ({"classes": 7}, "classes is 7, and the model has 10 outputs"),
        ({"shape": [1, 12]}, "shape"),
        ({"normalisation": "mnist"}, "normalisation and mean, std exclude each other"),
        ({"local_training": {"epochs": 2}}, "epochs needs learning_rate"),
        ({"local_training": {"learning_rate": 0.1, "optimizer": "adam"}}, "only plain SGD can be replayed"),
        ({"attack": {"max_iteration": 5}}, "did you mean 'max_iterations'"),
        ({"attack": {"method": "wiig"}}, "true masks"),
        ({"dropout": 1.0}, "dropout"),
        ({"kind": "difference"}, "these are weights, not a difference"),
    ],
)
def test_wrong_settings_are_refused_and_leave_nothing(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:

    assert invert(client, tmp_path, **changes) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_an_existing_folder_is_never_overwritten(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    assert invert(client, tmp_path) == 1
    assert "exists; give another --out" in capsys.readouterr().err


def test_originals_must_be_pictures(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "wrong.npz", images=torch.randn(1, *SHAPE).numpy() * 9)
    assert invert(client, tmp_path, "--originals", str(tmp_path / "wrong.npz")) == 1
    assert "floating-point pixels in [0, 1]" in capsys.readouterr().err
