"""MNIST and CIFAR-10 through torchvision, on made-up files in the real formats.

CIFAR-10's batches are checked by MD5 before they are unpickled, so the tests put the checksums of their own
batches into torchvision's table. Downloads come from a server on this machine.
"""

import functools
import gzip
import hashlib
import http.server
import json
import pickle
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dia.datasets.registry import parse_dataset
from dia.datasets.victim_selection import make_victims
from dia.datasets.victim_set import VictimSet
from dia.errors import VictimError
from dia.utils.torchvision_compat import import_torchvision

import_torchvision()
from torchvision.datasets import CIFAR10, MNIST  # noqa: E402

Arrays = dict[str, np.ndarray[Any, Any]]


def victims(source: str, root: Path, **keys: Any) -> VictimSet:
    definition = {"source": source, "root": str(root), "images": 20, **keys}
    return make_victims(parse_dataset(json.dumps(definition), "mine"), "mine")


def idx(array: np.ndarray[Any, Any]) -> bytes:
    """MNIST's file format: magic number (type 8, unsigned byte; number of axes), sizes, bytes; big-endian."""
    header = np.array([0x0800 + array.ndim, *array.shape], dtype=">i4")
    return header.tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture(scope="module")
def mnist_files() -> dict[str, bytes]:
    """A test split of the true size; a training split that is too small, which only reading it finds out."""
    rng = np.random.default_rng(0)
    images = np.zeros((10_000, 28, 28), np.uint8)
    images[:, 4:8, 4:8] = rng.integers(0, 256, (10_000, 4, 4))
    return {
        "t10k-images-idx3-ubyte": idx(images),
        "t10k-labels-idx1-ubyte": idx(rng.integers(0, 10, 10_000)),
        "train-images-idx3-ubyte": idx(images[:50]),
        "train-labels-idx1-ubyte": idx(np.arange(50) % 10),
    }


@pytest.fixture
def mnist_root(tmp_path: Path, mnist_files: dict[str, bytes]) -> Path:
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in mnist_files.items():
        (raw / name).write_bytes(content)
    return tmp_path / "root"


def cifar_batch(name: str, count: int) -> Arrays:
    rng = np.random.default_rng(sum(name.encode()))
    return {
        "data": rng.integers(0, 256, (count, 3072), dtype=np.uint8),
        "labels": rng.permutation(count) % 10,
    }


CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def cifar_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "root" / CIFAR10.base_folder
    folder.mkdir(parents=True)

    def put(name: str, content: object) -> str:
        data = pickle.dumps(content, protocol=2)
        (folder / name).write_bytes(data)
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    def batch(name: str) -> list[str]:
        made = cifar_batch(name, 30)
        return [name, put(name, {"data": made["data"], "labels": made["labels"].tolist()})]

    monkeypatch.setattr(CIFAR10, "train_list", [batch(f"data_batch_{i}") for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch")])
    meta = {**CIFAR10.meta, "md5": put("batches.meta", {"label_names": CLASSES})}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return tmp_path / "root"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address of a local web server, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """torchvision first probes for redirections and hangs up in the middle of the answer."""

    handler = functools.partial(Quiet, directory=str(folder))
    with Server(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/", folder
        running.shutdown()
        thread.join()


# --- MNIST ---


def test_mnist_is_read_selected_and_traceable(mnist_root: Path, mnist_files: dict[str, bytes]) -> None:
    made = victims("torchvision-mnist", mnist_root, split="test")
    assert made.shape == (1, 28, 28)
    assert made.labels.tolist() == [*range(10), *range(10)]
    assert (made.source, made.num_classes) == ("torchvision-mnist", 10)
    assert made.source_detail == "MNIST, test split, torchvision's files"
    pixels = np.frombuffer(mnist_files["t10k-images-idx3-ubyte"], np.uint8, offset=16).reshape(-1, 28, 28)
    labels = np.frombuffer(mnist_files["t10k-labels-idx1-ubyte"], np.uint8, offset=8)
    assert np.array_equal(made.images[..., 0], pixels[made.source_indices])
    assert np.array_equal(made.labels, labels[made.source_indices])


@pytest.mark.parametrize("source", ["torchvision-mnist", "torchvision-cifar10"])
def test_missing_root_names_root_and_download(tmp_path: Path, source: str) -> None:
    with pytest.raises(VictimError) as error:
        victims(source, tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(error.value)
    assert "set download: true" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_mnist_of_the_wrong_size_is_refused(mnist_root: Path) -> None:
    with pytest.raises(VictimError, match=r"array \(50, 28, 28\) where MNIST has \(60000, 28, 28\)"):
        victims("torchvision-mnist", mnist_root, split="train")


@pytest.mark.parametrize("kept", [0, 3, 10, 16, 1000, -1])
@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_truncated_mnist_names_the_file(mnist_root: Path, name: str, kept: int) -> None:
    path = mnist_root / "MNIST" / "raw" / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(VictimError) as error:
        victims("torchvision-mnist", mnist_root, split="test")
    assert f"{path} is truncated or damaged" in str(error.value)
    assert "delete it" in str(error.value)


def test_mnist_with_a_label_out_of_range(mnist_root: Path) -> None:
    labels = np.zeros(10_000)
    labels[7] = 10
    (mnist_root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    with pytest.raises(VictimError, match="label 10 of image 7 is out of range"):
        victims("torchvision-mnist", mnist_root, split="test")


def serve_mnist(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    address, folder = server
    resources = []
    for name, _ in MNIST.resources:
        content = gzip.compress(files[Path(name).stem], compresslevel=1)
        (folder / name).write_bytes(content)
        resources.append((name, hashlib.md5(content, usedforsecurity=False).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setattr(MNIST, "mirrors", [address])


def test_mnist_is_downloaded_once_and_only_on_demand(
    tmp_path: Path,
    server: tuple[str, Path],
    mnist_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve_mnist(server, monkeypatch, mnist_files)
    root = tmp_path / "new" / "root"
    with pytest.raises(VictimError, match="download: true"):
        victims("torchvision-mnist", root, split="test")
    made = victims("torchvision-mnist", root, split="test", download=True)
    assert {path.name for path in root.rglob("*") if path.is_file()} == set(mnist_files)
    for path in server[1].iterdir():
        path.unlink()
    assert victims("torchvision-mnist", root, split="test", download=True).sha256 == made.sha256
    assert victims("torchvision-mnist", root, split="test").sha256 == made.sha256


def test_failed_mnist_download_leaves_nothing(
    tmp_path: Path,
    server: tuple[str, Path],
    mnist_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The third of four files arrives cut off: the two good ones must not look like a dataset."""
    serve_mnist(server, monkeypatch, mnist_files)
    cut = server[1] / MNIST.resources[2][0]
    cut.write_bytes(cut.read_bytes()[:-50])
    with pytest.raises(VictimError) as error:
        victims("torchvision-mnist", tmp_path / "root", split="test", download=True)
    assert f"the download into root {tmp_path / 'root'} failed" in str(error.value)
    assert "download: true" in str(error.value)
    assert not (tmp_path / "root").exists()


def test_failed_download_touches_nothing_else_in_the_root(
    mnist_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])  # nothing listens there
    (mnist_root / "MNIST" / "raw" / "train-labels-idx1-ubyte").unlink()
    before = sorted(mnist_root.rglob("*"))
    with pytest.raises(VictimError, match="Connection refused"):
        victims("torchvision-mnist", mnist_root, split="test", download=True)
    assert sorted(mnist_root.rglob("*")) == before


# --- CIFAR-10 ---


@pytest.mark.parametrize(
    ("split", "batches"), [("train", [f"data_batch_{i}" for i in range(1, 6)]), ("test", ["test_batch"])]
)
def test_cifar10_is_read_selected_and_traceable(cifar_root: Path, split: str, batches: list[str]) -> None:
    made = victims("torchvision-cifar10", cifar_root, split=split)
    assert made.shape == (3, 32, 32)
    assert made.class_names == tuple(CLASSES)
    assert made.class_counts.max() - made.class_counts.min() <= 1
    data = np.concatenate([cifar_batch(name, 30)["data"] for name in batches])
    labels = np.concatenate([cifar_batch(name, 30)["labels"] for name in batches])
    assert np.array_equal(made.labels, labels[made.source_indices])
    expected = data[made.source_indices].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(made.images, expected)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_damaged_cifar10_names_the_file_and_is_never_unpickled(cifar_root: Path, name: str) -> None:
    path = cifar_root / CIFAR10.base_folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(VictimError) as error:
        victims("torchvision-cifar10", cifar_root)
    assert f"cifar-10-batches-py/{name} is truncated" in str(error.value)
    path.unlink()
    with pytest.raises(VictimError, match=rf"cifar-10-batches-py/{name} is missing"):
        victims("torchvision-cifar10", cifar_root)


def test_cifar10_is_downloaded(
    cifar_root: Path, tmp_path: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = server
    archive = folder / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(cifar_root / CIFAR10.base_folder, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "url", address + CIFAR10.filename)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    here = victims("torchvision-cifar10", cifar_root)
    there = victims("torchvision-cifar10", tmp_path / "other", download=True)
    assert here.sha256 == there.sha256
    assert [path.name for path in (tmp_path / "other").iterdir()] == [CIFAR10.base_folder]

    archive.write_bytes(archive.read_bytes()[:-50])
    with pytest.raises(VictimError, match="the download into root"):
        victims("torchvision-cifar10", tmp_path / "third", download=True)
    assert not (tmp_path / "third").exists()


def test_missing_cifar10_does_not_hide_behind_another_dataset(mnist_root: Path) -> None:
    with pytest.raises(VictimError, match="cifar-10-batches-py/data_batch_1 is missing"):
        victims("torchvision-cifar10", mnist_root)
