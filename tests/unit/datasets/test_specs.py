"""Dataset definitions: what is accepted, what is refused and in which words."""

import json
import subprocess
import sys
from typing import Any, Literal

import pytest

from dia.datasets.registry import SOURCES, DatasetSpec, parse_dataset
from dia.datasets.specs import NORMALISATIONS
from dia.errors import ConfigError
from dia.utils.lazy_import import load_object

MINIMAL: dict[str, dict[str, Any]] = {
    "torchvision-mnist": {"root": "data"},
    "torchvision-cifar10": {"root": "data"},
    "imagenet": {"root": "data"},
    "folder": {"root": "data", "normalisation": "cifar10"},
    "bundled-mnist": {},
    "bundled-photos": {},
    "file": {"path": "mine.npz", "num_classes": 10, "normalisation": "mnist"},
    "received": {"updates": "updates", "before": "before.npz", "settings": "client.yaml"},
}
OF_IMAGES = [name for name in SOURCES if name != "received"]


def parse(source: str, **keys: Any) -> DatasetSpec:
    return parse_dataset(json.dumps({"source": source, **MINIMAL[source], **keys}), "mine")


def test_every_source_has_a_definition_and_a_loader() -> None:
    assert set(SOURCES) == set(MINIMAL)
    for name, source in SOURCES.items():
        assert load_object(source.keys).model_fields["source"].annotation == Literal[name]
        assert callable(load_object(source.victims).make)
        assert callable(load_object(source.victims).load)
        assert name not in OF_IMAGES or callable(load_object(source.load))


@pytest.mark.parametrize(
    ("source", "normalisation"),
    [("torchvision-mnist", "mnist"), ("torchvision-cifar10", "cifar10"), ("bundled-mnist", "mnist")],
)
def test_known_datasets_bring_their_normalisation(source: str, normalisation: str) -> None:
    spec = parse(source)
    assert spec.normalisation == normalisation
    assert spec.images == 128
    assert spec.mean_std == NORMALISATIONS[spec.normalisation]


@pytest.mark.parametrize("source", SOURCES)
def test_definition_survives_json(source: str) -> None:
    spec = parse(source, **({"images": 7} if source in OF_IMAGES else {"updates_per_cell": 7}))
    assert parse_dataset(spec.model_dump_json(), "mine") == spec


def test_own_statistics_replace_the_default_and_survive_json() -> None:
    spec = parse("bundled-photos", mean=[0.1, 0.2, 0.3], std=[1, 1, 0.5])
    assert spec.normalisation is None
    assert spec.mean_std == ((0.1, 0.2, 0.3), (1.0, 1.0, 0.5))
    assert parse_dataset(spec.model_dump_json(), "mine") == spec


@pytest.mark.parametrize(
    ("source", "keys", "message"),
    [
        ("bundled-mnist", {"image": 16}, "unknown key 'image'; did you mean 'images'?"),
        ("bundled-mnist", {"images": 0}, "images = 0: must be at least 1"),
        ("bundled-mnist", {"images": 5001}, "images = 5001: must be at most 5000"),
        ("bundled-mnist", {"images": True}, "images = true: must be a whole number"),
        ("bundled-mnist", {"normalisation": "cifar10"}, "the normalisation is for 3 channel"),
        ("bundled-mnist", {"mean": [0.5]}, "mean and std go together"),
        (
            "bundled-mnist",
            {"mean": [0.5], "std": [0.5], "normalisation": "mnist"},
            "are both given: keep one",
        ),
        ("bundled-mnist", {"mean": [0.5], "std": [0.0]}, "must be above 0"),
        ("bundled-photos", {"mean": [0.5], "std": [0.5]}, "the normalisation is for 1 channel"),
        ("bundled-photos", {"size": 8}, "size = 8: must be at least 16"),
        ("bundled-photos", {"num_classes": 7}, "num_classes = 7: must be at least 8"),
        ("file", {"normalisation": None}, "no normalisation: give one of mnist, cifar10, imagenet by name"),
        ("file", {"mean": [0.5, 0.5], "std": [0.5], "normalisation": None}, "mean has 2 channels and std 1"),
        ("torchvision-mnist", {"split": "validation"}, "must be 'train' or 'test'"),
        ("torchvision-mnist", {"download": "no"}, "must be true or false"),
    ],
)
def test_faults_are_refused_by_name(source: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(source, **keys)
    assert message in str(error.value)
    assert "datasets.mine" in str(error.value)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ('{"source": "mnist"}', "unknown source 'mnist'"),
        ("{}", "datasets.mine.source: missing"),
        ('{"source": "file"}', "path: missing"),
        ("{", "dataset mine is not JSON"),
    ],
)
def test_unreadable_definitions(definition: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_dataset(definition, "mine")
    assert message in str(error.value)


def test_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as error:
        parse_dataset('{"source": "bundle-mnist"}', "mine")
    assert "did you mean 'bundled-mnist'?" in str(error.value)
    assert all(source in str(error.value) for source in SOURCES)


def test_definitions_are_light_to_import() -> None:
    """Every cluster job parses the config, and so imports this module."""
    code = "import sys, dia.datasets.registry; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "torchvision", "numpy", "PIL"} & set(modules)


def test_victim_sets_load_without_torch() -> None:
    code = "import sys, dia.datasets.victim_set; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "torchvision", "PIL"} & set(modules)
