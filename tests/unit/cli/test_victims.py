"""The verb ``dia victims``."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from dia.cli import victims as verb
from dia.datasets.victim_set import VictimSet
from dia.errors import ConfigError, VictimError


def run(definition: str, out: Path) -> int:
    parser = argparse.ArgumentParser()
    verb.add_parser(parser.add_subparsers())
    return verb.run(
        parser.parse_args(["victims", "--dataset-json", definition, "--name", "mine", "--out", str(out)])
    )


def test_writes_the_set_and_says_what_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "victims" / "mine.npz"
    assert run('{"source": "bundled-mnist", "images": 16}', out) == 0
    made = VictimSet.load(out)
    printed = capsys.readouterr().out
    assert "mine: 16 images of 28x28x1 from bundled-mnist" in printed
    assert "mine: 10 of 10 classes, 1 to 2 images each" in printed
    assert made.sha256 in printed
    assert "not balanced" not in printed
    assert [path.name for path in out.parent.iterdir()] == ["mine.npz"]


def test_says_when_a_class_has_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source.npz"
    np.savez(source, images=np.zeros((5, 16, 16), np.uint8), labels=np.array([0, 0, 0, 0, 1]))
    definition = {
        "source": "file",
        "path": str(source),
        "images": 5,
        "num_classes": 2,
        "normalisation": "mnist",
    }
    assert run(json.dumps(definition), tmp_path / "set.npz") == 0
    assert "mine: not balanced: 1 to 4 images per class" in capsys.readouterr().out


def test_failure_leaves_no_file(tmp_path: Path) -> None:
    out = tmp_path / "victims" / "mine.npz"
    with pytest.raises(VictimError, match="no such file"):
        run('{"source": "file", "path": "none.npz", "num_classes": 2, "normalisation": "mnist"}', out)
    with pytest.raises(ConfigError, match="unknown key 'imags'"):
        run('{"source": "bundled-mnist", "imags": 3}', out)
    assert list(tmp_path.iterdir()) == []
