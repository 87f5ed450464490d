"""The source imagenet against torchvision's own ImageFolder and transforms, on small folders written here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dia.datasets.registry import parse_dataset
from dia.datasets.victim_selection import make_victims
from dia.datasets.victim_set import VictimSet
from dia.errors import ConfigError, VictimError
from dia.utils.torchvision_compat import import_torchvision

SIZES = [(300, 256), (256, 260), (40, 90)]


def victims(root: Path, **definition: Any) -> VictimSet:
    definition = {"source": "imagenet", "root": str(root), "num_classes": 3, "images": 5} | definition
    return make_victims(parse_dataset(json.dumps(definition), "mine"), "mine")


def fill(folder: Path, per_class: int = 2) -> Path:
    """Three classes of random photographs in several sizes, modes and formats; returns ``folder``."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("n02", "n01", "n03")):
        (folder / name).mkdir(parents=True)
        for image in range(per_class):
            width, height = SIZES[(number + image) % 3]
            pixels = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
            photograph = Image.fromarray(pixels).resize((width, height))
            if image % 2:
                photograph.convert("L").save(folder / name / f"{image}.png")
            else:
                photograph.save(folder / name / f"{image}.JPEG")
    (folder / "n01" / "notes.txt").write_text("not an image")
    return folder


def test_images_are_those_of_torchvision(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    made = victims(tmp_path)
    import_torchvision()
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    usual = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    folder = ImageFolder(str(tmp_path / "train"), transform=usual)
    assert made.shape == (3, 224, 224)
    assert made.labels.tolist() == [0, 1, 2, 0, 1]
    for image, label, index in zip(made.images, made.labels, made.source_indices, strict=True):
        expected, expected_label = folder[int(index)]
        assert label == expected_label
        assert np.array_equal(image, np.asarray(expected))
    assert made.class_names == ("n01", "n02", "n03")
    assert made.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert made.std.tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert made.source_detail == (
        "train split, 6 images in 3 class folders, resized to 256, cropped to 224x224"
    )


@pytest.mark.parametrize("place", [".", "val", "ILSVRC/Data/CLS-LOC/val"])
def test_class_folders_are_found_in_every_layout(tmp_path: Path, place: str) -> None:
    expected = victims(fill(tmp_path / "plain"), split="val")
    found = victims(fill(tmp_path / "root" / place) and tmp_path / "root", split="val")
    assert np.array_equal(found.images, expected.images)
    assert np.array_equal(found.labels, expected.labels)


def test_sizes_and_number_of_outputs_are_settings(tmp_path: Path) -> None:
    made = victims(fill(tmp_path), size=64, resize=72, num_classes=1000)
    assert made.shape == (3, 64, 64)
    assert (made.num_classes, made.class_names) == (1000, ())


def test_only_chosen_files_are_opened(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "n03" / "9.jpg").write_bytes(b"damaged")
    assert len(victims(tmp_path, images=6)) == 6
    with pytest.raises(VictimError, match=r"n03/9\.jpg is damaged or not an image .*; replace it"):
        victims(tmp_path, images=7)


@pytest.mark.parametrize(
    ("make", "how", "message"),
    [
        (lambda root: None, {"root": "absent"}, "root absent is not a folder"),
        (lambda root: (root / "val").mkdir(), {}, "has val/ but no train/; set split: val"),
        (lambda root: (root / "n01").mkdir(), {}, "has no class folders with images."),
        (
            lambda root: Image.new("RGB", (300, 300)).save(root / "ILSVRC2012_val_00000001.JPEG"),
            {},
            "The images lie in it side by side: sort them into one folder per class.",
        ),
        (fill, {"num_classes": 2}, "has 3 class folders and num_classes is 2; it must be at least as many"),
        (fill, {"images": 7}, "7 images are asked for, the source has 6"),
    ],
)
def test_refusals(tmp_path: Path, make: Any, how: dict[str, Any], message: str) -> None:
    make(tmp_path)
    with pytest.raises(VictimError) as caught:
        victims(**{"root": tmp_path} | how)
    assert message in str(caught.value)


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="size 224 is larger than resize 200: the crop would not fit"):
        parse_dataset('{"source": "imagenet", "root": "x", "resize": 200}', "mine")


def test_hidden_folders_and_files_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path)
    expected = victims(tmp_path)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "n01" / ".cache").mkdir()
    for folder in (".ipynb_checkpoints", "n01", "n01/.cache"):
        Image.new("RGB", (300, 300)).save(tmp_path / folder / ".0.png")
    assert victims(tmp_path).sha256 == expected.sha256


def test_sub_folders_of_a_class_are_read_as_by_torchvision(tmp_path: Path) -> None:
    fill(tmp_path)
    for sub in ("n01/2024", "n01/2023/a"):
        (tmp_path / sub).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (300, 300), (number, len(sub), 0)).save(tmp_path / sub / f"{number}.png")
    import_torchvision()
    from torchvision.datasets import ImageFolder

    samples = ImageFolder(str(tmp_path)).samples
    made = victims(tmp_path, images=9)
    assert len(samples) == 12
    for index, label in zip(made.source_indices, made.labels, strict=True):
        assert samples[int(index)][1] == label
    assert made.source_detail.startswith("12 images in 3 class folders")


def test_images_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    Image.new("RGB", (300, 300)).save(tmp_path / "b.png")
    with pytest.raises(VictimError, match=r"has images beside its class folders \(b\.png, 1 in all\): move"):
        victims(tmp_path)
    (tmp_path / "b.png").unlink()
    Image.new("RGB", (300, 300)).save(tmp_path / "n01" / "b.gif")
    with pytest.raises(VictimError, match=r"n01/b\.gif is of a format that is not read; convert it to PNG"):
        victims(tmp_path)


def test_a_link_into_the_folder_around_it_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "n01" / "again").symlink_to(tmp_path / "n01")
    with pytest.raises(VictimError, match=r"n01/again leads back to .*n01, which holds it; remove that link"):
        victims(tmp_path)
