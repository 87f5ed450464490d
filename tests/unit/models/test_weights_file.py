"""A model's weights from a file: what is loaded is what was stored, and what does not fit is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dia.errors import ConfigError, ModelError
from dia.inversion.settings_file import InversionSettings
from dia.models.build import build_model
from dia.models.custom import WEIGHTS_SUFFIXES, CustomModel
from dia.models.weights_file import load_weights
from dia.utils.paths import TENSOR_SUFFIXES
from dia.utils.validation_errors import validate_model

SHAPE = (1, 28, 28)
STATE = {
    "layers.0.weight": torch.linspace(-1, 1, 6).view(2, 3),
    "layers.0.bias": torch.tensor([0.5, -2.0]),
    "norm.running_mean": torch.tensor([3.0, 4.0]),
    "norm.running_var": torch.tensor([1.0, 2.0]),
    "norm.num_batches_tracked": torch.tensor(7),
}


class Net(nn.Module):
    """A layer, and buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 2))
        self.norm = nn.BatchNorm1d(2, affine=False)


class Tied(nn.Module):
    """One parameter under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(2, 2, bias=False)
        self.b = nn.Linear(2, 2, bias=False)
        self.b.weight = self.a.weight


def npz(state: dict[str, Tensor], path: Path) -> None:
    np.savez(path, **{name: value.numpy() for name, value in state.items()})


WRITERS: dict[str, Callable[[dict[str, Tensor], Path], object]] = {
    "w.safetensors": save_file,
    "w.npz": npz,
    "w.pt": torch.save,
    "w.pth": lambda state, path: torch.save({"epoch": 3, "state_dict": state}, path),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_what_was_stored_is_loaded_exactly(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    stored = {key: value.to(dtype) if value.is_floating_point() else value for key, value in STATE.items()}
    stored["layers.0.weight"] += 1e-3  # what a narrower type would round
    WRITERS[name](stored, tmp_path / name)
    model = Net()
    load_weights(model, "m", tmp_path / name)
    assert model.layers[0].weight.requires_grad
    assert model.layers[0].weight.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for key, value in model.state_dict().items():
        assert torch.equal(value.to(stored[key].dtype), stored[key])


def test_the_config_takes_the_kinds_that_are_read() -> None:
    assert WEIGHTS_SUFFIXES == TENSOR_SUFFIXES


def test_tied_parameters_need_one_name(tmp_path: Path) -> None:
    model, path = Tied(), tmp_path / "w.safetensors"
    save_file({"b.weight": torch.eye(2)}, path)
    load_weights(model, "m", path)
    assert torch.equal(model.a.weight, torch.eye(2))
    assert model.a.weight is model.b.weight


def without(key: str) -> dict[str, Tensor]:
    return {name: value for name, value in STATE.items() if name != key}


REFUSED: dict[str, tuple[nn.Module, dict[str, Tensor] | list[Tensor], str]] = {
    "missing": (Net(), without("layers.0.bias"), r"do not fit model 'm': the file lacks 'layers.0.bias'$"),
    "foreign": (Net(), STATE | {"head.weight": torch.ones(1)}, r"the model has no 'head.weight'$"),
    "many": (Tied(), {f"x{i}": torch.ones(1) for i in range(9)}, r"lacks 'a.weight', 'b.weight'; the .* and 4 more$"),
    "wrapped": (Net(), {f"module.{key}": value for key, value in STATE.items()}, r"without the prefix of its wrapper"),
    "shape": (
        Net(),
        STATE | {"layers.0.weight": torch.ones(3, 2)},
        r"'layers.0.weight' has shape \(3, 2\), the model's \(2, 3\)",
    ),
    "counter for a weight": (Net(), STATE | {"layers.0.bias": torch.tensor([1, 2])}, r"holds torch.int64, the model's"),
    "complex": (Net(), STATE | {"layers.0.bias": torch.ones(2) * 1j}, r"'layers.0.bias' holds torch.complex64"),
    "nan": (Net(), STATE | {"layers.0.bias": torch.tensor([1.0, torch.nan])}, r"'layers.0.bias' is not finite"),
    "narrower model": (
        Net().bfloat16(),
        STATE | {"layers.0.bias": torch.tensor([1 / 3, 0.0])},
        r"'layers.0.\w+' \(torch.float32\) has values that the model cannot hold: it has torch.bfloat16",
    ),
    "tied, twice": (Tied(), {"a.weight": torch.eye(2), "b.weight": torch.ones(2, 2)}, r"two names .* two values"),
    "no names": (Net(), [torch.ones(2, 3), torch.ones(2)], r"tensors without names; save them by the names"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused(kind: str, tmp_path: Path) -> None:
    model, stored, message = REFUSED[kind]
    torch.save(stored, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=message) as raised:
        load_weights(model, "m", tmp_path / "w.pt")
    assert str(tmp_path / "w.pt") in str(raised.value)


def test_a_built_in_architecture_has_the_weights_of_the_file_whatever_the_seed(tmp_path: Path) -> None:
    """Under its usual sites of dropout, which are those of the architecture and not of its name in the config."""
    original = build_model("lenet", SHAPE, 10, 0.5, seed=3)
    path = tmp_path / "lenet.safetensors"
    save_file(original.state_dict(), path)
    own = CustomModel(factory="lenet", weights=str(path))
    for seed in (0, 1):
        model = build_model("trained", SHAPE, 10, 0.5, seed, own=own)
        assert all(
            torch.equal(value, original.state_dict()[key]) for key, value in model.state_dict().items()
        )
    rates = [{key: m.p for key, m in net.named_modules() if hasattr(m, "p")} for net in (original, model)]
    assert rates[0] == rates[1] and 0.0 in rates[0].values()
    with pytest.raises(ModelError, match="unknown dropout site of lenet 'hidden'"):
        build_model("trained", SHAPE, 10, 0.5, 0, own=own, sites="hidden")
    with pytest.raises(ModelError, match=r"do not fit model 'trained': .* has shape"):
        build_model("trained", SHAPE, 7, 0.5, 0, own=own)


def test_weights_from_a_file_need_no_reproducible_factory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawn.py").write_text(
        "import os, torch\nfrom torch import nn\ndef net():\n"
        "    net = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(784, 3, bias=False))\n"
        "    nn.init.constant_(net[2].weight, os.urandom(1)[0] + os.urandom(1)[0] / 256)\n    return net\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="has other weights whenever it is built"):
        build_model("m", SHAPE, 3, 0.5, 0, own=CustomModel(factory="module:drawn.net"))
    save_file({"2.weight": torch.ones(3, 784)}, tmp_path / "w.safetensors")
    own = CustomModel(factory="module:drawn.net", weights=str(tmp_path / "w.safetensors"))
    assert torch.equal(build_model("m", SHAPE, 3, 0.5, 0, own=own)[2].weight, torch.ones(3, 784))


def test_an_inversion_takes_its_weights_from_the_client() -> None:
    settings = {
        "model": {"factory": "mlp", "weights": "w.pt"},
        "kind": "gradient",
        "shape": [1, 8, 8],
        "classes": 3,
    }
    with pytest.raises(ConfigError, match=r"model.weights means nothing here: .* --before"):
        validate_model(InversionSettings, settings, "settings")
