"""The source folder: native sizes, counted classes, and refusals that say what to do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dia.datasets.registry import parse_dataset
from dia.datasets.victim_selection import make_victims
from dia.datasets.victim_set import VictimSet
from dia.errors import VictimError


def victims(root: Path, **definition: Any) -> VictimSet:
    definition = {"source": "folder", "root": str(root), "normalisation": "cifar10"} | definition
    return make_victims(parse_dataset(json.dumps(definition), "mine"), "mine")


def fill(
    root: Path, height: int, width: int, classes: int, per_class: int, *, grey: bool = False
) -> list[np.ndarray]:
    """Write random images, every second one in a sub-folder of its class; returns the pixels, class by class."""
    rng = np.random.default_rng(height * width)
    made = []
    for label in range(classes):
        first = []
        for number in range(per_class):
            pixels = rng.integers(0, 256, (height, width) if grey else (height, width, 3), dtype=np.uint8)
            folder = root / f"class{label}" / ("inner" if number % 2 else ".")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number}.png")
            (made if number % 2 else first).append(pixels)
        made[len(made) - per_class // 2 : len(made) - per_class // 2] = first
    return made


@given(st.integers(11, 40), st.integers(11, 40), st.integers(2, 4), st.integers(1, 3), st.booleans())
@settings(max_examples=12)
def test_pixels_are_the_files_own(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    classes: int,
    per_class: int,
    grey: bool,
) -> None:
    root = tmp_path_factory.mktemp("root")
    expected = fill(root, height, width, classes, per_class, grey=grey)
    found = victims(root, images=classes * per_class, normalisation="mnist" if grey else "cifar10")
    assert found.num_classes == classes and found.class_names == tuple(f"class{n}" for n in range(classes))
    assert found.shape == (1 if grey else 3, height, width)
    for image, index, label in zip(found.images, found.source_indices, found.labels, strict=True):
        assert np.array_equal(np.squeeze(image), expected[index])
        assert label == index // per_class


def test_the_model_may_have_more_outputs(tmp_path: Path) -> None:
    fill(tmp_path, 12, 12, 2, 1)
    made = victims(tmp_path, images=2, num_classes=10)
    assert (made.num_classes, made.class_names) == (10, ())


@pytest.mark.parametrize(
    ("change", "definition", "message"),
    [
        (lambda root: Image.new("L", (13, 12)).save(root / "class1/9.png"), {"images": 3}, "size: .*12x12.*12x13"),
        (lambda root: Image.new("RGB", (12, 12)).save(root / "9.png"), {}, "images beside its class folders"),
        (lambda root: (root / "class1" / "9.png").write_text("x"), {"images": 3}, "damaged or not an image"),
        (lambda root: None, {"normalisation": "mnist"}, "has colours, and the normalisation is for grey"),
        (lambda root: [path.unlink() for path in root.rglob("*.png")], {}, "no class folders with images"),
        (lambda root: (root / "class2").mkdir(), {"num_classes": 2}, "has 3 class folder"),
        (lambda root: None, {"root": "absent"}, "root absent is not a folder"),
    ],
)  # fmt: skip
def test_folders_are_refused(tmp_path: Path, change: Any, definition: dict[str, Any], message: str) -> None:
    fill(tmp_path, 12, 12, 2, 1)
    change(tmp_path)
    with pytest.raises(VictimError, match=message):
        victims(**({"root": tmp_path, "images": 2} | definition))


def test_one_class_is_no_classification(tmp_path: Path) -> None:
    fill(tmp_path, 12, 12, 1, 2)
    with pytest.raises(VictimError, match=r"1 class folder\(s\); a model needs at least 2"):
        victims(tmp_path, images=2)
