"""Paths that users write: the home directory is meant by ~, and what would be taken for a variable is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dia.config.config import Config
from dia.datasets.registry import load_source, parse_dataset
from dia.errors import ConfigError, VictimError
from dia.reporting.tables.check import check_tables
from dia.utils.paths import expanded

BASE: dict[str, Any] = yaml.safe_load("""
name: x
datasets: {d: {source: bundled-mnist}}
grids: [{datasets: [d], models: [mlp], dropout_rates: ["0"], attacks: [ig], seeds: [0]}]
""")
PLACES: dict[str, Any] = {
    "datasets.d.path": lambda p: {
        "datasets": {"d": {"source": "file", "path": p, "num_classes": 2, "normalisation": "mnist"}}
    },
    **{
        f"datasets.d.root of {source}": lambda p, s=source: {"datasets": {"d": {"source": s, "root": p}}}
        for source in ("torchvision-mnist", "torchvision-cifar10", "imagenet")
    },
    "models.m.weights": lambda p: {"models": {"m": {"factory": "vit", "weights": p}}},
    "execution.compile_cache": lambda p: {"execution": {"compile_cache": p}},
}


@pytest.mark.parametrize("variable", ["$DATA", "${DATA}", "%DATA%"])
@pytest.mark.parametrize("place", PLACES)
def test_variables_are_refused_wherever_a_config_has_a_path(place: str, variable: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(BASE | PLACES[place](f"{variable}/x.pt"))
    message = str(caught.value)
    assert f"{place.partition(' ')[0]} = '{variable}/x.pt': {variable} is not replaced" in message
    assert "1 fault\n" in message
    Config.load(BASE | PLACES[place]("~/a $5 path, 100% fine.pt"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("path", ["", "a\0b", 3, ["x"]])
def test_what_is_no_path_is_refused(place: str, path: Any) -> None:
    with pytest.raises(ConfigError, match=place.partition(" ")[0]):
        Config.load(BASE | PLACES[place](path))


def test_home_is_home_for_every_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    images = np.zeros((2, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.array([0, 1]))
    keys = '{"source": "file", "path": "~/images.npz", "num_classes": 2, "normalisation": "mnist"}'
    assert len(load_source(parse_dataset(keys, "d")).labels) == 2
    for source in ("torchvision-mnist", "torchvision-cifar10", "imagenet"):
        with pytest.raises(VictimError, match=str(tmp_path / "nowhere")):
            load_source(parse_dataset(f'{{"source": "{source}", "root": "~/nowhere"}}', "d"))

    (tmp_path / "published.csv").write_text("nonsense\n1\n")
    table = tmp_path / "tables" / "t.yaml"
    table.parent.mkdir()
    plain = yaml.safe_load(Path("config/tables/dropout.yaml").read_text())
    table.write_text(yaml.safe_dump(plain | {"reference_values": "~/published.csv"}))
    with pytest.raises(ConfigError, match=str(tmp_path / "published.csv")):
        check_tables([table])
    table.write_text(yaml.safe_dump(plain | {"reference_values": "$HOME/published.csv"}))
    with pytest.raises(
        ConfigError, match=r"reference_values = '\$HOME/published.csv': \$HOME is not replaced"
    ):
        check_tables([table])


def test_an_unknown_home_is_named() -> None:
    assert expanded("a/~/b") == Path("a/~/b")
    with pytest.raises(ConfigError, match="~nobody-of-this-name/x: "):
        expanded("~nobody-of-this-name/x")
