"""A user's own torch model: how the config names it, what is made of it, and which ones are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.custom_models import SOURCE
from torch import nn

from dia.attacks.optimisation.objective import matching_distance
from dia.errors import ModelError
from dia.federated.client import compute_update
from dia.federated.update import ClientUpdate
from dia.gradients.batched import BatchedGradientEngine
from dia.models.build import build_model
from dia.models.custom import CustomModel
from dia.models.dropout import dropout_modules, dropout_sites

SHAPE = (1, 8, 8)
pytestmark = pytest.mark.usefixtures("module")


def made(name: str, p: float = 0.5, sites: str = "default", **arguments: Any) -> nn.Module:
    own = CustomModel(factory=f"module:mine.{name}", arguments=arguments)
    return build_model("own", SHAPE, 3, p, seed=0, sites=sites, own=own)


def refusal(name: str, **how: Any) -> str:
    with pytest.raises(ModelError) as caught:
        made(name, **how)
    return str(caught.value)


def test_arguments_stand_for_what_the_cell_has() -> None:
    model = made("small", classes="$num_classes", rate="$dropout_rate", width="$height", sides=[1, 2])
    assert model[1].out_features == 8
    assert model(torch.zeros(2, *SHAPE)).shape == (2, 3)


def test_every_dropout_module_gets_the_rate_of_the_cell_or_none() -> None:
    rates = {name: module.p for name, module in dropout_modules(made("small", p=0.25)).items()}
    assert rates == {"3": 0.25, "5": 0.25}
    assert list(dropout_modules(made("small", sites="5"))) == ["5"]
    assert dropout_modules(made("small", p=0.0)) == {}


def test_channel_dropout_has_one_mask_entry_a_channel() -> None:
    sites = dropout_sites(made("normal", classes=3), torch.zeros(1, *SHAPE))
    assert [(site.name, site.shape) for site in sites] == [("2", (2, 1, 1))]


def test_looking_for_hidden_dropout_leaves_running_statistics_alone() -> None:
    norm = made("normal", classes=3)[1]
    assert int(norm.num_batches_tracked) == 0
    assert torch.equal(norm.running_mean, torch.zeros(2))


def test_weights_depend_on_the_seed_alone() -> None:
    first, second = (made("small", p=p).state_dict() for p in (0.1, 0.9))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_dropout_that_is_switched_off_is_no_reason_to_refuse() -> None:
    assert list(dropout_modules(made("switched"))) == ["dropout"]
    names = list(dropout_modules(made("encoder_without_hidden")))
    assert names == ["inner.dropout", "inner.dropout1", "inner.dropout2", "dropout"]


@pytest.mark.parametrize("name", ["switched", "encoder_without_hidden"])
def test_attention_can_be_differentiated_twice(name: str) -> None:
    """Torch's fused attention cannot; the distance's slope is held against a finite difference."""
    model = BatchedGradientEngine(made(name).double(), SHAPE, 3, 1)
    rng = torch.Generator().manual_seed(0)
    private, x, step = (torch.randn(1, 1, *SHAPE, generator=rng, dtype=torch.float64) for _ in range(3))
    masks, labels = [x.new_ones(1, 1, *site.shape) for site in model.sites], torch.tensor([[1]])
    received = ClientUpdate.of(compute_update(model, private, masks, labels))

    def distance(at: torch.Tensor) -> torch.Tensor:
        return matching_distance(model, received, at, masks, labels).sum()

    (slope,) = torch.autograd.grad(distance(x.requires_grad_()), x)
    difference = (distance(x + 1e-5 * step) - distance(x - 1e-5 * step)) / 2e-5
    assert float((slope * step).sum()) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "where", "line"),
    [
        ("functional", "in module 'inner' (Functional)", "# functional"),
        ("attention", "in module 'inner.attend' (MultiheadAttention)", "# built in"),
        ("fused", "in module 'inner.1' (Fused)", "# fused"),
        ("recurrent", "in module 'inner.rnn' (GRU)", "# recurrent"),
        ("alpha", "in module 'inner.0' (AlphaDropout)", "return self.head("),
        ("encoder", "in module 'inner.self_attn' (MultiheadAttention)", "return self.head("),
    ],
)
def test_hidden_dropout_is_refused_and_located(module: Path, name: str, where: str, line: str) -> None:
    number = next(n for n, text in enumerate(SOURCE.splitlines(), 1) if line in text)
    message = refusal(name)
    assert f"{where}, at {module}, line {number} (" in message
    assert "model 'own' draws random numbers where no dropout mask can be replayed" in message
    assert "Use nn.Dropout modules there" in message


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("absent", {}, "module:mine.absent: the module mine has no callable absent"),
        ("fails", {}, "module:mine.fails failed when called with (): KeyError: 'weights'"),
        ("small", {"depth": 3}, "failed when called with (depth=3): TypeError"),
        ("nothing", {}, "module:mine.nothing returned a int; it must return a torch.nn.Module"),
        (
            "plain",
            {"classes": 3},
            "model 'own' drops nowhere with dropout_sites default: it has no nn.Dropout",
        ),
        ("small", {"sites": "7"}, "drops nowhere with dropout_sites 7: its dropout modules are 3, 5"),
        ("small", {"classes": 4}, "must return logits (images, 3) and returned a tensor of shape (2, 4)"),
        ("small", {"width": "$width", "classes": 2, "p": 0.0}, "returned a tensor of shape (2, 2)"),
        ("normal", {"classes": 3, "shape": (1, 9, 9)}, "cannot take images of 1 channel(s) and 9 x 9 pixels"),
        ("unused", {}, "dropout module 'never' (p = 0.5) is never called"),
    ],
)
def test_unfit_models_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, how: dict[str, Any], message: str
) -> None:
    if "shape" in how:
        monkeypatch.setitem(globals(), "SHAPE", how.pop("shape"))
    assert message in refusal(name, **how)


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    own = CustomModel(factory="module:not_there.at_all.net")
    with pytest.raises(
        ModelError,
        match=r"module not_there\.at_all cannot be imported \(ModuleNotFoundError",
    ):
        own.make(SHAPE, 3, 0.5)
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(ModelError, match=r"module broken cannot be imported \(ZeroDivisionError"):
        CustomModel(factory="module:broken.net").make(SHAPE, 3, 0.5)
