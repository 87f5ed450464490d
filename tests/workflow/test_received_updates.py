"""``config/received.yaml`` on a small folder of real clients' updates, as docs/invert.md tells a user to run it."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from helpers.real_clients import train_client
from helpers.received_folder import DESCRIPTION, fill, write_update
from helpers.workplace import ROOT, Workplace

MODEL = """
from torch import nn


def make_model(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 64), nn.GELU(), nn.Dropout(0.5), nn.Linear(64, classes))
"""
ROWS = Path("results/received/results.parquet")
UNTIL_ROWS = ("--until", "collect")  # what is made of the rows has tests of its own


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, Path]:
    """Four clients in cells of two, one of whose files is damaged and one of whom has given its image away."""
    workplace = Workplace(tmp_path_factory.mktemp("received"))
    mapping: dict[str, Any] = yaml.safe_load((ROOT / "config" / "received.yaml").read_text())
    mapping["datasets"]["clients"] |= {"updates_per_cell": 2, "originals": "received/originals"}
    mapping["scenarios"]["default"]["max_iterations"] = 3
    mapping["grids"][0]["attacks"] = ["dia"]
    fill(workplace.folder, 4, originals=(0,))
    (workplace.folder / "mymodel.py").write_text(MODEL)
    description = DESCRIPTION | {"model": mapping["models"]["net"]}
    (workplace.folder / "received" / "client.yaml").write_text(yaml.safe_dump(description))
    (workplace.folder / "received" / "updates" / "client_02.npz").write_bytes(b"junk")
    config = workplace.config(mapping)
    workplace.snakemake("--cores", "1", "--configfile", config)
    return workplace, config


def rows(workplace: Workplace) -> list[dict[str, Any]]:
    columns = ["cell_id", "update_file", "stop_reason", "ssim", "matching_distance"]
    return pq.read_table(workplace.folder / ROWS, columns=columns).to_pylist()


def test_every_update_has_a_row_and_a_bad_file_says_why(finished: tuple[Workplace, Path]) -> None:
    found = rows(finished[0])
    assert [row["update_file"] for row in found] == [f"client_{number:02d}.npz" for number in range(4)]
    assert [row["cell_id"].split("/")[1] for row in found] == [f"clients-00{n // 2}" for n in range(4)]
    assert [row["stop_reason"].split(":")[0] == "refused" for row in found] == [False, False, True, False]
    assert [row["ssim"] is None for row in found] == [False, True, True, True]
    log = (finished[0].folder / "results/received/logs/victims/clients-001.log").read_text()
    assert "client_02.npz: refused: update received/updates/client_02.npz: truncated, damaged" in log


def test_tables_figures_and_tracking_cope_without_scores(finished: tuple[Workplace, Path]) -> None:
    results = finished[0].folder / "results" / "received"
    table = (results / "tables" / "received.md").read_text()
    assert "| default | net | 0.5 | DIA |" in table and "| 3/4 |" in table
    assert "Scores are over 1 of the 3 victims with a reconstruction" in table
    assert "1 of 4 victims failed and are left out" in table
    assert len(list((results / "figures").rglob("*.png"))) == 4  # two parts, two figures
    assert (results / "tracking.json").exists()


def test_a_changed_file_reruns_the_cell_of_its_part_only(finished: tuple[Workplace, Path]) -> None:
    workplace, config = finished
    path = workplace.folder / "received" / "updates" / "client_02.npz"
    path.touch()
    assert workplace.planned(*UNTIL_ROWS, "--configfile", config) == {}
    write_update(workplace.folder, 2, train_client(seed=2, labels=[2]))
    planned = workplace.planned(*UNTIL_ROWS, "--configfile", config)
    assert planned == {"victims": 1, "attack": 1, "list_cells": 1, "collect": 1}
    refused = workplace.snakemake(*UNTIL_ROWS, "--cores", "1", "--configfile", config, status=1)
    assert "clients-001/net/p0.5/dia/seed0: dataset.contents.updates.client_02.npz" in refused
    workplace.snakemake(*UNTIL_ROWS, "--cores", "1", "--configfile", config, "--config", "replace=true")
    assert [row["stop_reason"] for row in rows(workplace)] == ["max_iterations"] * 4


def test_what_the_server_sent_is_checked_before_any_attack(finished: tuple[Workplace, Path]) -> None:
    workplace, config = finished
    np.savez(workplace.folder / "received" / "before.npz", np.zeros(3))
    printed = workplace.snakemake(
        ROWS, "--cores", "1", "--configfile", config, "--config", "replace=true", status=1
    )
    assert "rule victims" in printed and "rule attack" not in printed
