"""Files of updates: every form is read to the same tensors, and broken ones are refused without running them."""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dia.errors import UpdateError
from dia.federated.update_file import read_update

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}
COUNTER = {"norm.num_batches_tracked": torch.tensor(7)}


def numpy(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in tensors.items()}


WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "safetensors": ("u.safetensors", lambda path: save_file(TENSORS | COUNTER, path)),
    "npz": ("u.npz", lambda path: np.savez(path, **numpy(TENSORS | COUNTER))),
    "pt": ("u.pt", lambda path: torch.save(OrderedDict(TENSORS | COUNTER), path)),
    "checkpoint": ("u.pth", lambda path: torch.save({"epoch": 3, "state_dict": TENSORS | COUNTER}, path)),
    "old pt": ("u.pt", lambda path: torch.save(TENSORS, path, _use_new_zipfile_serialization=False)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_gives_the_same_tensors_without_counters(kind: str, tmp_path: Path) -> None:
    name, write = WRITERS[kind]
    write(tmp_path / name)
    found = read_update(tmp_path / name)
    assert isinstance(found, dict) and set(found) == set(TENSORS)
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_positional_arrays_come_in_order(tmp_path: Path) -> None:
    arrays = [np.full(2, number) for number in range(12)]  # arr_10 sorts before arr_2
    np.savez(tmp_path / "u.npz", *arrays)
    found = read_update(tmp_path / "u.npz")
    assert isinstance(found, list) and [int(value[0]) for value in found] == list(range(12))
    torch.save([torch.ones(2), torch.zeros(3)], tmp_path / "u.pt")
    assert [len(value) for value in read_update(tmp_path / "u.pt")] == [2, 3]


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def truncated(name: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        _, whole = WRITERS[name]
        whole(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return write


def member(name: str, content: bytes) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)

    return write


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("u.npz", lambda path: None, "no such file"),
    "empty": ("u.safetensors", lambda path: path.write_bytes(b""), "the file is empty"),
    "unknown suffix": (
        "u.h5",
        lambda path: path.write_bytes(b"x"),
        r"unknown kind of file '.h5'; .*\.safetensors",
    ),
    "truncated safetensors": (
        "u.safetensors",
        truncated("safetensors"),
        "truncated, damaged or not a safetensors",
    ),
    "truncated npz": ("u.npz", truncated("npz"), "truncated, damaged or not an .npz"),
    "truncated pt": ("u.pt", truncated("pt"), "truncated, damaged or not written by torch.save"),
    "text": (
        "u.pt",
        lambda path: path.write_text("weights"),
        "damaged or not written by torch.save|objects",
    ),
    "text as safetensors": (
        "u.safetensors",
        lambda path: path.write_text("{" * 99),
        "not a safetensors file",
    ),
    "npz of another kind": ("u.npz", member("a.npy", b"nothing"), "is not in numpy.s format"),
    "pickled array": ("u.npz", member("a.npy", npy(np.array([{}], dtype=object))), "holds Python objects"),
    "array of text": ("u.npz", lambda path: np.savez(path, a=np.array(["x"])), "a holds <U1, not numbers"),
    "one array": ("u.npz", lambda path: path.write_bytes(npy(np.ones(2))), "a single array"),
    "position missing": (
        "u.npz",
        lambda path: np.savez(path, arr_0=np.ones(1), arr_2=np.ones(1)),
        "without arr_1",
    ),
    "no tensor": ("u.npz", lambda path: np.savez(path), "holds no tensor"),
    "not tensors": ("u.pt", lambda path: torch.save({"lr": 0.1}, path), "'lr' is a float, not a tensor"),
    "a number": ("u.pt", lambda path: torch.save(3, path), "holds a int, not tensors by name"),
    "whole module": (
        "u.pt",
        lambda path: torch.save(torch.nn.Linear(2, 2), path),
        "Python objects beside tensors",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    name, write, message = BROKEN[kind]
    write(tmp_path / name)
    with pytest.raises(UpdateError, match=message) as raised:
        read_update(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_no_pickle_is_ever_run(save: Any, tmp_path: Path) -> None:
    save({"a": Bomb(tmp_path / "exploded")}, tmp_path / "u.pt")
    with pytest.raises(UpdateError):
        read_update(tmp_path / "u.pt")
    assert not (tmp_path / "exploded").exists()
