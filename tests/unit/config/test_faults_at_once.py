"""Faults of keys and faults between keys are listed together, and no fault that only follows from another."""

import copy
from typing import Any

import pytest
import yaml

from dia.config.config import Config
from dia.errors import ConfigError

FAULTY = """
name: x
datasets:
  a: {source: file, path: a.npz, num_classes: 1, mean: [0.1], std: [0.1, 0.2]}
  b: {source: bundled-mnist, images: 4}
  c: {source: imagenet, root: x, resize: 20, size: 30, num_classes: 0, mean: [0.1], std: [0.2]}
  d: {source: file}
scenarios: {default: {victims: 9, local_batch_size: 3}, bad: {victims: 0}}
models: {net: {factory: vit, arguments: {a: 1}}, lenet: {factory: vit}}
grids:
- {scenario: bad, datasets: [b, zz], models: [mlp], dropout_rates: ["0.5"], attacks: [ig], seeds: [-1]}
- {scenario: default, datasets: [a, b, bb], models: [mlp, net], dropout_rates: ["0.5", "0.50"], attacks: [ig],
   seeds: [0]}
- {scenario: defaul, datasets: [a, b], models: [mlp], dropout_rates: ["0.5"], attacks: [ig], seeds: [0]}
"""
FAULTS = [
    "datasets.a.num_classes = 1: must be at least 2",
    "datasets.a: mean has 1 channels and std 2",
    "datasets.c.num_classes = 0: must be at least 2",
    "datasets.c: the normalisation is for 1 channel(s), the images of this source have 3",
    "datasets.c: size 30 is larger than resize 20",
    "datasets.d.path: missing",
    "datasets.d.num_classes: missing",
    "datasets.d: no normalisation: give one of",
    "models.net: the built-in architecture vit takes no arguments",
    "models.lenet: lenet is a built-in architecture",
    "scenarios.bad.victims = 0: must be at least 1",
    "grids[0].seeds[0] = -1: must be at least 0",
    "grids[1].datasets: unknown dataset 'bb'; did you mean 'b'? allowed: a, b, c, d",
    "grids[1]: scenario 'default' takes 9 victims of 1 image(s) for model 'mlp', more than the 4 of datasets.b.images",
    "grids[1]: duplicate cell default/b/mlp/p0.50/ig/seed0, already in grids[1] (as default/b/mlp/p0.5/ig/seed0)",
    "grids[1]: duplicate cell default/bb/mlp/p0.50/ig/seed0",
    "grids[2].scenario: unknown scenario 'defaul'; did you mean 'default'? allowed: default, bad",
    "scenario 'default', model 'mlp': local_batch_size means nothing while local_epochs is 0",
]


def faults(mapping: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Config.load(mapping)
    return str(caught.value).splitlines()[1:]


def test_all_kinds_of_faults_are_listed_at_once() -> None:
    found = faults(yaml.safe_load(FAULTY))
    assert len(found) == len(FAULTS)
    for fault in FAULTS:
        assert sum(line.strip().startswith(fault) for line in found) == 1, fault


FOLLOWING = {
    ("datasets", "c", "resize"): ("x", "datasets.c: size 30 is larger"),  # not than its default either
    ("datasets", "a", "mean"): (["x"], "datasets.a: mean"),
    ("datasets", "b", "images"): (0, "more than the"),
    ("scenarios", "default", "victims"): (0, "takes 9"),
    ("scenarios", "default", "local_epochs"): (-1, "local_batch_size means nothing"),
    ("models", "net", "factory"): ("x", "takes no arguments"),
    ("grids", 1, "seeds"): ([], "duplicate cell"),
}


@pytest.mark.parametrize(("place", "value", "gone"), [(k, *v) for k, v in FOLLOWING.items()], ids=str)
def test_a_check_that_needs_a_faulty_value_says_nothing(
    place: tuple[Any, ...], value: Any, gone: str
) -> None:
    mapping = yaml.safe_load(FAULTY)
    assert any(gone in fault for fault in faults(copy.deepcopy(mapping)))
    block = mapping
    for key in place[:-1]:
        block = block[key]
    block[place[-1]] = value
    assert not any(gone in fault for fault in faults(mapping))


@pytest.mark.parametrize(
    "mapping",
    [
        {"grids": [3]},
        {"grids": 3, "datasets": 4},
        {"datasets": {1: 2}, "grids": [{}]},
        {"scenarios": {}, "grids": [{}]},
        {"models": None, "scenarios": [1], "grids": [None]},
        {"models": {"a": None, "b": {}}, "grids": [{"models": ["a", "b", 3], "scenario": None}]},
    ],
    ids=str,
)
def test_sections_of_the_wrong_kind_are_faults_and_no_more(mapping: dict[str, Any]) -> None:
    assert any(line.strip().startswith("name: missing") for line in faults(mapping))
