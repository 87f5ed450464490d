"""Odd models of users: their gradients against plain autograd on an untouched copy, or a refusal in clear words."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dia.errors import ModelError
from dia.federated.client import compute_update
from dia.federated.protocol import build_engine
from dia.gradients.engine import GradientEngine
from dia.models.build import build_model
from dia.models.custom import CustomModel
from dia.settings.scenario import Settings
from dia.utils.randomness import default_generator

SHAPE, CLASSES, VICTIMS, IMAGES = (1, 4, 4), 3, 3, 2
SOURCE = """
import random, sys, time
import numpy as np
import torch
from os import system
from shutil import rmtree
from torch import nn
from torch.utils.checkpoint import checkpoint

class Net(nn.Module):
    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)
    def forward(self, x):
        return self.run(self, x)

class MyDropout(nn.Dropout):
    pass

def body(drop=None, width=8):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.Tanh(), drop or nn.Dropout(0.5), nn.Linear(width, 3))

def frozen():
    model = body(); model[1].requires_grad_(False); return model
def first_int():
    model = body(); model[0].index = nn.Parameter(torch.arange(3), requires_grad=False); return model
def numpy_weights():
    model = body()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor(np.random.randn(8, 16) * 0.3))
        model[4].bias.fill_(random.random())
    return model
def spectral():
    model = body(); nn.utils.spectral_norm(model[1]); nn.utils.parametrizations.spectral_norm(model[4]); return model
def counter():
    def run(m, x):
        m.n += 1
        return m.body(x * (1 + 0.1 * m.n))
    model = Net(run, body=body()); model.register_buffer("n", torch.zeros(())); return model
def gate():
    def run(m, x):
        f = m.drop(x.flatten(1)); bright = x.mean((1, 2, 3)) > 0; y = m.short(f)
        return y.index_put((bright.nonzero()[:, 0],), m.long(f[bright])) if bright.any() else y
    return Net(run, drop=nn.Dropout(0.5), short=nn.Linear(16, 3),
               long=nn.Sequential(nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 3)))
def experts():
    def run(m, x):
        h = torch.tanh(m.stem(x.flatten(1))); top = m.router(h).argmax(1); y = torch.zeros_like(h)
        for i, expert in enumerate(m.experts):
            rows = (top == i).nonzero()[:, 0]
            if len(rows):
                y = y.index_add(0, rows, torch.tanh(expert(h[rows])))
        return m.head(m.drop(h + y))
    return Net(run, stem=nn.Linear(16, 6), router=nn.Linear(6, 2), experts=nn.ModuleList(nn.Linear(6, 6) for _ in "ab"),
               drop=nn.Dropout(0.5), head=nn.Linear(6, 3))
def numpy_routing():
    def run(m, x):
        f = m.drop(x.flatten(1)); rows = torch.tensor(np.flatnonzero(x.detach().mean((1, 2, 3)).numpy() > 0))
        y = m.short(f)
        return y.index_put((rows,), m.long(f[rows])) if len(rows) else y
    return Net(run, drop=nn.Dropout(0.5), short=nn.Linear(16, 3), long=nn.Linear(16, 3))
def train_only():
    return Net(lambda m, x: m.b(m.drop(torch.tanh(m.a(x.flatten(1)))) if m.training else torch.tanh(m.a(x.flatten(1)))),
               a=nn.Linear(16, 8), drop=nn.Dropout(0.5), b=nn.Linear(8, 3))
def checked():
    def run(m, x):
        assert m.pos.shape[0] == 1
        return m.body(x + m.pos)
    return Net(run, pos=nn.Parameter(torch.zeros(1, 1, 4, 4)), body=body())
def subclass():
    return body(MyDropout(0.5))
def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.Tanh(), nn.Dropout(0.5), nn.LazyLinear(3))
def own_rates():
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(16, 8), nn.Tanh(), nn.Dropout(0.6), nn.Linear(8, 3))
def double():
    return body().double()

def half():
    return body().half()
def numpy_mask():
    return Net(lambda m, x: m.body(x * float(np.random.rand() < 0.5)), body=body())
def python_depth():
    return Net(lambda m, x: m.body(x) if random.random() < 0.5 else m.body(2 * x), body=body())
def own_generator():
    rng = np.random.default_rng(0)
    return Net(lambda m, x: m.body(x * rng.random()), body=body())
def unseeded():
    model = body(); model[1].weight.data.mul_(float(np.random.default_rng().random())); return model
def state_outside():
    seen = []
    def run(m, x):
        seen.append(1)
        return m.body(x / len(seen))
    return Net(run, body=body())
def checkpointed():
    return Net(lambda m, x: checkpoint(m.body, x, use_reentrant=False), body=body())
def no_parameters():
    return nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.AdaptiveAvgPool1d(3))
def idle():
    return Net(lambda m, x: m.drop(x.flatten(1))[:, :3], drop=nn.Dropout(0.5), never=nn.Linear(4, 4))
def all_frozen():
    return body().requires_grad_(False)
def complex_logits():
    return Net(lambda m, x: torch.complex(m.body(x), m.body(x)), body=body())
def parallel():
    return nn.DataParallel(body())
def exits():
    sys.exit(3)
def alpha():
    return body(nn.AlphaDropout(0.5))
def channelled():
    return body(nn.FeatureAlphaDropout(0.5))
def compiled():
    return torch.compile(body())
def compiled_inside():
    return nn.Sequential(torch.compile(nn.Sequential(nn.Flatten(), nn.Linear(16, 8))), nn.Dropout(0.5), nn.Linear(8, 3))
def compiled_in_place():
    model = body(); model.compile(); return model
def compiled_forward():
    model = body(); model.forward = torch.compile(model.forward); return model
class CompiledMethod(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = body()
    @torch.compile
    def forward(self, x):
        return self.body(x)
def scripted():
    return torch.jit.script(body())
def traced():
    return torch.jit.trace(body().eval(), torch.zeros(1, 1, 4, 4))
def scripted_inside():
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), torch.jit.script(nn.Linear(16, 3)))
def batch_norm():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
def tokens_first():
    return Net(lambda m, x: m.head(m.drop(m.embed(x.flatten(1, 2)).transpose(0, 1)).mean(0)),
               embed=nn.Linear(4, 8), drop=nn.Dropout(0.5), head=nn.Linear(8, 3))
"""
PLAIN = [
    "frozen",
    "first_int",
    "numpy_weights",
    "spectral",
    "counter",
    "gate",
    "experts",
    "numpy_routing",
    "train_only",
    "checked",
    "subclass",
    "lazy",
    "own_rates",
    "double",
    "batch_norm",
]


@pytest.fixture(autouse=True)
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("odd", None)


def engine(name: str, images: int = IMAGES, **settings: object) -> GradientEngine:
    own = CustomModel(factory=f"module:odd.{name}", dropout_rates="own")
    chosen = Settings(precision="float64", **settings)  # type: ignore[arg-type]
    device = torch.device("cpu")
    return build_engine("m", SHAPE, CLASSES, 0.5, 0, chosen, images=images, device=device, own=own)


def untouched(name: str) -> nn.Module:
    """A model of the same weights from the factory itself; its dropout multiplies by masks in the order of modules."""
    with default_generator(0, "weights", "m"):
        model: nn.Module = getattr(importlib.import_module("odd"), name)()
        model.eval()(
            torch.zeros(1, *SHAPE, dtype=next(p for p in model.parameters() if p.is_floating_point()).dtype)
        ) if (name == "lazy") else None
    return model.train().double()


def by_hand(name: str, x: Tensor, masks: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
    model = untouched(name)
    drops = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    for module, mask in zip(drops, masks, strict=True):
        module.forward = lambda z, m=mask, p=module.p: z * m / (1 - p)  # type: ignore[method-assign]
    parameters = {key: p for key, p in model.named_parameters() if p.requires_grad}
    loss = F.cross_entropy(model(x), labels)
    found = torch.autograd.grad(loss, list(parameters.values()), create_graph=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


@pytest.mark.parametrize("name", PLAIN)
def test_gradients_are_those_of_the_users_model(name: str) -> None:
    made = engine(name)
    rng = torch.Generator().manual_seed(1)
    for _ in range(2):  # a pass leaves nothing behind
        x = torch.randn(VICTIMS, IMAGES, *SHAPE, generator=rng, dtype=torch.float64)
        x[0] += 1
        labels = torch.randint(CLASSES, (VICTIMS, IMAGES), generator=rng)
        masks = [
            torch.rand(VICTIMS, IMAGES, *s.shape, generator=rng, dtype=torch.float64).round()
            for s in made.sites
        ]
        x.requires_grad_()
        sent = made.gradients(x, masks, labels, differentiable=True)
        square = torch.stack([piece.dense().square().sum() for piece in sent.values()]).sum()
        (slope,) = torch.autograd.grad(square, x)
        for v in range(VICTIMS):
            image = x[v].detach().requires_grad_()
            expected = by_hand(name, image, [mask[v] for mask in masks], labels[v])
            largest = max(float(e.norm()) for e in expected.values())
            assert set(sent) <= set(expected)
            for key, value in expected.items():
                got = sent[key].dense()[v] if key in sent else torch.zeros_like(value)
                assert float((got - value).norm()) <= 1e-9 * largest
            (own,) = torch.autograd.grad(
                torch.stack([e.square().sum() for e in expected.values()]).sum(), image
            )
            assert float((slope[v] - own).norm()) <= 1e-9 * float(own.norm())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("half", "weights of type float16"),
        ("numpy_mask", "random numbers of numpy.random"),
        ("python_depth", "random numbers of Python's random"),
        ("own_generator", "gives other outputs from one pass to the next"),
        ("state_outside", "keeps a state outside of its buffers"),
        ("unseeded", "has other weights whenever it is built"),
        ("checkpointed", "torch.utils.checkpoint"),
        ("no_parameters", "has no parameters"),
        ("idle", "no parameter of model 'm' takes part in its outputs"),
        ("all_frozen", "are frozen"),
        ("complex_logits", "real logits"),
        ("parallel", "wrapped in DataParallel"),
        ("exits", "SystemExit"),
        ("alpha", r"3 \(AlphaDropout\) cannot be replayed"),
        ("channelled", r"3 \(FeatureAlphaDropout\) cannot be replayed"),
        ("compiled", r"the model is compiled \(torch.compile\)"),
        ("compiled_inside", "module '0' is compiled"),
        ("compiled_in_place", "the model is compiled"),
        ("compiled_forward", "the model is compiled"),
        ("CompiledMethod", "the model is compiled"),
        ("scripted", r"the model is scripted \(torch.jit\)"),
        ("traced", "the model is scripted"),
        ("scripted_inside", "module '2' is scripted"),
        ("tokens_first", "the first dimension being the images"),
        ("system", "is not called"),
        ("rmtree", "is not called"),
    ],
)
def test_what_cannot_be_attacked_is_refused_in_clear_words(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        engine(name)


def test_batch_norm_on_vectors_needs_two_images() -> None:
    with pytest.raises(ModelError, match="1 at a time in train mode: ValueError: Expected more than 1 value"):
        engine("batch_norm", images=1)


def test_double_weights_are_not_rounded() -> None:
    own = CustomModel(factory="module:odd.double")
    how = {"images": 2, "device": torch.device("cpu"), "own": own}
    with pytest.raises(
        ModelError, match=r"weights of type float64 .* set precision: float64, or return it with .float"
    ):
        build_engine("m", SHAPE, CLASSES, 0.5, 0, Settings(), **how)  # type: ignore[arg-type]


def test_rates_are_the_cells_unless_the_model_keeps_its_own() -> None:
    assert [site.rate for site in engine("own_rates").sites] == [0.1, 0.6]
    model = build_model("m", SHAPE, CLASSES, 0.3, 0, own=CustomModel(factory="module:odd.own_rates"))
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.3, 0.3]


def test_the_standard_library_makes_no_models() -> None:
    with pytest.raises(ValueError, match="os is a module of Python's standard library"):
        CustomModel(factory="module:os.system")


def test_local_steps_of_resnet18_with_minibatches_of_two_are_plain_sgd() -> None:
    """Its group normalisation cannot be mapped over victims: torch has no such rule for minibatches above one."""
    settings = Settings(precision="float64", local_epochs=1, local_batch_size=2, local_learning_rate=0.1)
    shape = (3, 16, 16)
    made = build_engine("resnet18", shape, CLASSES, 0.0, 0, settings, images=2, device=torch.device("cpu"))
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(2, 2, *shape, generator=rng, dtype=torch.float64)
    labels = torch.randint(CLASSES, (2, 2), generator=rng)
    sent = compute_update(made, x, [], labels)
    for v in range(2):
        model = build_model("resnet18", shape, CLASSES, 0.0, 0).double()
        F.cross_entropy(model(x[v]), labels[v]).backward()
        for key, parameter in model.named_parameters():
            assert parameter.grad is not None
            error = (sent[key].dense()[v] - parameter.grad).norm()
            assert float(error) <= 1e-9 * (1e-3 + float(parameter.grad.norm()))


@pytest.mark.parametrize("name", ["frozen", "spectral", "counter"])
def test_local_steps_move_what_is_trainable_and_keep_each_victims_buffers(name: str) -> None:
    made = engine(name, local_epochs=2, local_batch_size=1, local_learning_rate=0.1)
    rng = torch.Generator().manual_seed(2)
    x = torch.randn(2, IMAGES, *SHAPE, generator=rng, dtype=torch.float64)
    labels = torch.randint(CLASSES, (2, IMAGES), generator=rng)
    masks = [
        torch.rand(2, *s.mask_shape(IMAGES), generator=rng, dtype=torch.float64).round() for s in made.sites
    ]
    sent = compute_update(made, x, masks, labels)
    for v in range(2):
        model = untouched(name)
        (drop,) = [module for module in model.modules() if isinstance(module, nn.Dropout)]
        start = {key: p.detach().clone() for key, p in model.named_parameters() if p.requires_grad}
        sgd = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for step, mask in zip(made.steps, masks, strict=True):  # type: ignore[attr-defined]
            drop.forward = lambda z, m=mask[v]: z * m / 0.5  # type: ignore[method-assign]
            sgd.zero_grad()
            F.cross_entropy(model(x[v, step]), labels[v, step]).backward()
            sgd.step()
        assert set(sent) == set(start)
        for key, value in start.items():
            expected = (value - model.get_parameter(key).detach()) / 0.1
            assert float((sent[key].dense()[v] - expected).norm()) <= 1e-9 * (1 + float(expected.norm()))
