"""``examples/nvflare``: DXO files in FOBS form, as documented and, where nvflare is installed, as it writes them."""

import io
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.real_clients import MEAN, NORMALISATION, SHAPE, STD, train_client

import dia
from dia.errors import UpdateError

msgpack = pytest.importorskip(
    "msgpack", reason="msgpack is not installed: pip install 'dropout-inversion-attack[dev]' or nvflare"
)


EXAMPLE = Path(__file__).parents[3] / "examples" / "nvflare"
NO_NVFLARE = "nvflare is not installed: pip install 'dropout-inversion-attack[nvflare]'"


@pytest.fixture
def read_dxo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Any]]:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import dxo

    yield dxo.read_dxo
    sys.modules.pop("dxo")


def fobs(kind: str, data: Any, decoder: str) -> dict[str, Any]:
    return {"__fobs_type__": kind, "__fobs_data__": data, "__fobs_dc__": decoder}


def array(value: np.ndarray) -> dict[str, Any]:
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=True)
    return fobs(
        "numpy.ndarray",
        {"type": "native", "data": buffer.getvalue()},
        "numpy_decomposers.NumpyArrayDecomposer",
    )


def dxo_file(path: Path, arrays: dict[str, Any], kind: str = "WEIGHT_DIFF", **meta: Any) -> Path:
    """A file as DXO.to_file writes it."""
    data = {
        "data_kind": fobs("nvflare.apis.dxo.DataKind", kind, "EnumTypeDecomposer"),
        "data": arrays,
        "meta": meta,
    }
    body = msgpack.packb(fobs("nvflare.apis.dxo.DXO", {"data": data}, "DataClassDecomposer"))
    path.write_bytes(b"d\0" + len(body).to_bytes(8, "big") + body)
    return path


def test_a_difference_gives_the_image_away(read_dxo: Callable[[Path], Any], tmp_path: Path) -> None:
    client = train_client()
    arrays = {name: array(value.numpy()) for name, value in client.difference.items()}
    update = read_dxo(dxo_file(tmp_path / "u.dxo", arrays, NUM_STEPS_CURRENT_ROUND=1))
    assert update.kind == "difference" and update.meta == {"NUM_STEPS_CURRENT_ROUND": 1}
    r = dia.invert(
        client.model, update.arrays, kind=update.kind, protocol=dia.FedSGD(0.1), shape=SHAPE, **NORMALISATION,
        method="dia_lbfgs", max_iterations=200, device="cpu",
    )  # fmt: skip
    assert float(dia.score(r.images, client.images).ssim) > 0.9


def test_the_form_of_a_running_federation(read_dxo: Callable[[Path], Any], tmp_path: Path) -> None:
    """The tuple (kind, meta, data), and a large array in a section of its own."""
    number, large = uuid.uuid4(), np.arange(4.0)
    reference = fobs("nvflare.fuel.utils.fobs.datum.DatumRef", {"data": {"datum_id": str(number)}}, "Data")
    arrays = {"small": array(np.ones(3)), "large": array(large)}
    blob = arrays["large"]["__fobs_data__"]["data"]
    arrays["large"]["__fobs_data__"]["data"] = reference
    parts = [fobs("nvflare.apis.dxo.DataKind", "WEIGHTS", "Enum"), {"NUM_STEPS_CURRENT_ROUND": 1}, arrays]
    body = msgpack.packb(fobs("nvflare.apis.dxo.DXO", fobs("tuple", parts, "Tuple"), "DXODecomposer"))
    sections = ((b"d\0", body), (b"f\0", number.bytes + blob))
    content = b"".join(marker + len(part).to_bytes(8, "big") + part for marker, part in sections)
    path = tmp_path / "u.dxo"
    path.write_bytes(content)
    update = read_dxo(path)
    assert update.kind == "weights" and update.meta == {"NUM_STEPS_CURRENT_ROUND": 1}
    assert np.array_equal(update.arrays["large"], large) and update.arrays["small"].tolist() == [1, 1, 1]
    path.write_bytes(content[: len(body) + 10])
    with pytest.raises(UpdateError, match="large is not a plain array"):
        read_dxo(path)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (
        lambda p: dxo_file(p, {}).write_bytes(p.read_bytes()[:-3]),
        "truncated, damaged or not a DXO",
    ),
    "text": (lambda p: p.write_text("weights of site-1"), "truncated, damaged or not a DXO"),
    "missing": (lambda p: None, "FileNotFoundError"),
    "analytics": (lambda p: dxo_file(p, {}, "ANALYTIC"), "kind ANALYTIC; WEIGHTS or WEIGHT_DIFF"),
    "pickled": (lambda p: dxo_file(p, {"a": array(np.array([{}], dtype=object))}), "a is not a plain array"),
    "a number": (lambda p: dxo_file(p, {"a": 3}), "a is not a plain array"),
    "filtered": (lambda p: dxo_file(p, {}, filter_history=["SVTPrivacy"]), "filtered on the client"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused(read_dxo: Callable[[Path], Any], tmp_path: Path, name: str) -> None:
    write, message = BROKEN[name]
    write(tmp_path / "u.dxo")
    with pytest.raises(UpdateError, match=message):
        read_dxo(tmp_path / "u.dxo")


def readme_blocks() -> list[str]:
    """The Python of the README, in order."""
    return re.findall(r"```python\n(.*?)```", (EXAMPLE / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("kind", ["WEIGHTS", "WEIGHT_DIFF"])
def test_the_filter_of_the_readme_keeps_what_a_client_sent(
    read_dxo: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The README's blocks as they stand: decomposers outside a federation, the filter, and the reader."""
    dxo = pytest.importorskip("nvflare.apis.dxo", reason=NO_NVFLARE)
    from nvflare.apis.fl_constant import ReservedKey
    from nvflare.apis.fl_context import FLContext
    from nvflare.apis.shareable import Shareable

    monkeypatch.chdir(tmp_path)
    client = train_client()
    sent = client.after if kind == "WEIGHTS" else client.difference
    save, outside, attack = readme_blocks()
    names: dict[str, Any] = {"dia": dia, "model": client.model}
    exec(outside, names)
    exec(save, names)
    shareable = dxo.DXO(
        getattr(dxo.DataKind, kind),
        data={name: value.numpy() for name, value in sent.items()},
        meta={"NUM_STEPS_CURRENT_ROUND": 1},
    ).to_shareable()
    context, peer = FLContext(), FLContext()
    context.set_prop(ReservedKey.IDENTITY_NAME, "server", private=False, sticky=False)
    peer.set_prop(ReservedKey.IDENTITY_NAME, "site-1", private=False, sticky=False)
    context.set_peer_context(peer)
    kept = names["SaveUpdates"]().process(shareable, context)
    assert isinstance(kept, Shareable) and kept is shareable  # the federation goes on with what was sent
    read = read_dxo(tmp_path / "updates" / "site-1.dxo")
    assert read.kind == {"WEIGHTS": "weights", "WEIGHT_DIFF": "difference"}[kind]
    assert all(np.array_equal(read.arrays[name], value.numpy()) for name, value in sent.items())
    shorter = f'{STD}, method="dia_lbfgs", max_iterations=200, device="cpu"'
    for ours, theirs in {"(1, 28, 28)": f"{SHAPE}", "0.1307": f"{MEAN}", "0.3081": shorter}.items():
        assert attack.count(ours) == 1
        attack = attack.replace(ours, theirs)
    exec(attack, names)
    assert float(dia.score(names["r"].images, client.images).ssim) > 0.9


WRITE = """
import sys, numpy as np
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.app_common.decomposers import common_decomposers
if sys.argv[2] == "federation":
    flare_decomposers.register()
common_decomposers.register()
arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "large": np.arange(1_500_000.0)}
DXO(DataKind.WEIGHTS, data=arrays, meta={"NUM_STEPS_CURRENT_ROUND": 2}).to_file(sys.argv[1])
"""


@pytest.mark.parametrize("where", ["federation", "script"])
def test_a_file_that_nvflare_wrote(read_dxo: Callable[[Path], Any], tmp_path: Path, where: str) -> None:
    """A process of its own, as what is registered decides on the form, and nothing can be registered back."""
    pytest.importorskip("nvflare.apis.dxo", reason=NO_NVFLARE)
    path = tmp_path / "u.dxo"
    subprocess.run([sys.executable, "-c", WRITE, str(path), where], check=True, timeout=120)
    update = read_dxo(path)
    assert update.kind == "weights" and update.meta == {"NUM_STEPS_CURRENT_ROUND": 2}
    assert np.array_equal(update.arrays["w"], np.arange(6).reshape(2, 3)) and len(update.arrays) == 2
    assert np.array_equal(update.arrays["large"], np.arange(1_500_000))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UpdateError, match="truncated"):
        read_dxo(path)
