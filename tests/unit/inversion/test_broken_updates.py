"""Broken updates, and updates that are not what they are said to be: an error or a warning names the cause.

Each case is one fault in an otherwise sound call. Errors come before any iteration; a warning stands beside a picture
that must not be believed, or beside one that is right all the same.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from helpers.real_clients import CLASSES, NORMALISATION, SHAPE, Client, network, train_client
from torch import nn

import dia
from dia.errors import DiaError, UpdateError
from dia.federated.update import ClientUpdate
from dia.gradients.factored import DenseGradient

LR = 0.1
STEP = dia.FedSGD(learning_rate=LR)
ADAM = {"optimizer": torch.optim.Adam, "lr": 1e-3}
Call = dict[str, Any]


class Case(NamedTuple):
    """``make`` gives the arguments of the call that differ; ``message`` is what must be said."""

    make: Callable[[Client], Call]
    message: str
    client: dict[str, Any] = {}  # noqa: RUF012


def gradient(change: Callable[[dict[str, Any]], Any]) -> Callable[[Client], Call]:
    """A call with a changed gradient."""

    def make(client: Client) -> Call:
        values: dict[str, Any] = {name: value.clone() for name, value in client.gradient.items()}
        changed = change(values)
        return {"update": values if changed is None else changed}

    return make


def put(name: str, value: Callable[[torch.Tensor], Any]) -> Callable[[Client], Call]:
    """A gradient in which one tensor is replaced."""
    return gradient(lambda values: values.update({name: value(values[name])}))


def said(**arguments: Any) -> Callable[[Client], Call]:
    """A sound gradient, and something wrong said about it."""
    return lambda client: {"update": client.gradient, **arguments}


def weights(
    change: Callable[[torch.Tensor], torch.Tensor] = lambda x: x, **arguments: Any
) -> Callable[[Client], Call]:
    """The weights afterwards, changed."""
    return lambda client: {
        "update": {name: change(value) for name, value in client.after.items()},
        "kind": "weights", "protocol": STEP, **arguments,
    }  # fmt: skip


def nan(value: torch.Tensor) -> torch.Tensor:
    value.view(-1)[0] = torch.nan
    return value


def summed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, labels, reduction="sum")


def binary(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, CLASSES).float())


ERRORS = {
    "unknown name": Case(gradient(lambda g: g.update(fc=g.pop("1.bias"))), r"unknown tensor 'fc'"),
    "misspelt name": Case(
        gradient(lambda g: g.update({"1.wieght": g.pop("1.weight")})), r"did you mean '1.weight'"
    ),
    "missing layer": Case(
        gradient(lambda g: {n: v for n, v in g.items() if n != "4.weight"}), r"no tensor for 4.weight; fr"
    ),
    "transposed": Case(
        put("1.weight", lambda x: x.T), r"1.weight has shape \(144, 64\).*transposed, as Keras"
    ),
    "another shape": Case(
        put("1.weight", lambda x: x[:, :7]), r"1.weight has shape \(64, 7\), the model \(64, 144\)"
    ),
    "several clients stacked": Case(put("1.weight", lambda x: x.expand(3, 64, 144)), r"looks like 3 clients"),
    "several clients": Case(
        gradient(lambda g: ClientUpdate.of({n: DenseGradient(torch.stack([v, v])) for n, v in g.items()})),
        r"updates of 2 clients; select one",
    ),
    "list too short": Case(
        gradient(lambda g: list(g.values())[:3]), r"a list of 3 tensors; the model has 4 parameters"
    ),
    "list in another order": Case(gradient(lambda g: list(g.values())[::-1]), r"has shape"),
    "one tensor": Case(
        gradient(lambda g: g["1.weight"]), r"update is a Tensor; it must be a dict of tensors"
    ),
    "a path": Case(gradient(lambda g: "update.npz"), r"a file is read with dia.read_update"),
    "a generator": Case(lambda c: {"update": c.model.parameters()}, r"a generator is put into list\(...\)"),
    "pairs of name and tensor": Case(
        lambda c: {"update": list(c.model.named_parameters())}, r"1.weight is a tuple, not a tensor"
    ),
    "the trained model as model": Case(
        lambda c: {"update": c.model.state_dict(), "kind": "weights"}, r"give before=, the weights"
    ),
    "text for a tensor": Case(put("1.bias", lambda x: "zeros"), r"1.bias (is a str|holds)"),
    "an object for a tensor": Case(put("1.bias", lambda x: object()), r"1.bias is a object, not a tensor"),
    "no gradients": Case(gradient(lambda g: dict.fromkeys(g)), r"no tensor at all; run backward\(\)"),
    "NaN": Case(put("1.weight", nan), r"not finite in 1.weight \(1 of 9216\)"),
    "infinite": Case(put("4.bias", lambda x: x / 0), r"not finite in 4.bias \(10 of 10\)"),
    "all zero": Case(gradient(lambda g: {n: 0 * v for n, v in g.items()}), r"all values are zero"),
    "integers": Case(
        put("1.weight", lambda x: (x * 1000).to(torch.int8)), r"1.weight holds int8.*and zero point"
    ),
    "complex": Case(put("1.bias", lambda x: x.to(torch.complex64)), r"1.bias holds complex64"),
    "before equals after": Case(
        lambda c: {"update": c.before, "kind": "weights"}, r"equal to the weights before"
    ),
    "weights as difference": Case(
        lambda c: {"update": c.after, "kind": "difference"}, r"weights, not a diff"
    ),
    "weights as gradient": Case(lambda c: {"update": c.after}, r"not a gradient: say kind='weights'"),
    "difference as weights": Case(
        lambda c: {"update": c.difference, "kind": "weights"}, r"a difference or a gradient"
    ),
    "another model's weights before": Case(
        weights(before={n: torch.zeros(1) for n in network().state_dict()}), "before"
    ),
    "NaN before": Case(
        lambda c: {
            "update": c.gradient,
            "before": {n: torch.full_like(v, torch.nan) for n, v in c.before.items()},
        },
        r"before: values that are not finite",
    ),
    "wrong sign of the gradient": Case(
        gradient(lambda g: {n: -v for n, v in g.items()}), r"sign is the wrong way"
    ),
    "wrong sign of the difference": Case(
        lambda c: {"update": c.difference, "kind": "difference", "sign": "before-after"},
        r"wrong way round: .*class 2 ",
    ),
    "unknown kind": Case(said(kind="grads"), r"kind is 'grads'; it must be"),
    "unknown sign": Case(said(sign="+"), r"sign is '\+'; it must be"),
    "Adam": Case(weights(protocol=dia.FedAvg(LR, optimizer="adam")), r"the client used adam.*only plain SGD"),
    "momentum over steps": Case(
        weights(protocol=dia.FedAvg(LR, epochs=2, momentum=0.9)), r"momentum over 2 local"
    ),
    "decay over steps": Case(
        weights(protocol=dia.FedAvg(LR, 2, weight_decay=0.1)), r"weight_decay over 2 local steps"
    ),
    "decay at an unknown rate": Case(
        weights(protocol=dia.FedSGD(weight_decay=0.1)), r"only where learning_rate is"
    ),
    "gradient of several steps": Case(
        said(protocol=dia.FedAvg(LR, epochs=2)), r"2 local steps do not give a gradient"
    ),
    "negative learning rate": Case(
        weights(protocol=dia.FedSGD(-0.1)), r"learning_rate is -0.1, out of range"
    ),
    "learning rate as text": Case(
        weights(protocol=dia.FedSGD("0.1")), r"learning_rate is '0.1'; it must be a"
    ),
    "epochs as a fraction": Case(weights(protocol=dia.FedAvg(LR, epochs=1.5)), r"epochs is 1.5; .* whole"),
    "no epochs": Case(weights(protocol=dia.FedAvg(LR, epochs=0)), r"epochs is 0, out of range"),
    "no protocol": Case(said(protocol="fedavg"), r"must be dia.FedSGD"),
    "label out of range": Case(
        said(labels=[10]), r"labels: 10 is no class of the model, whose outputs are 0 to 9"
    ),
    "labels as probabilities": Case(said(labels=[0.5]), r"labels is \[0.5\]; it must be whole numbers"),
    "one-hot labels": Case(said(labels=[[0, 0, 1, 0, 0, 0, 0, 0, 0, 0]]), r"argmax\(1\) of one-hot"),
    "no labels": Case(said(labels=None), r"labels is None; it must be"),
    "labels by name": Case(said(labels=["cat"]), r"labels is \['cat'\]; it must be whole numbers"),
    "labels and images": Case(said(labels=[1, 2], images=3), r"images is 3, and there are 2 labels"),
    "no images": Case(said(images=0), r"images is 0; it must be a whole number"),
    "wrong shape": Case(said(shape=(3, 12, 12)), r"shape \(3, 12, 12\): the model cannot take such images"),
    "height and width alone": Case(said(shape=(12, 12)), r"it must be \(channels, height, width\)"),
    "mean without std": Case(said(std=None), r"std is missing"),
    "mean of 0-255 pixels": Case(said(mean=76.0), r"mean is \[76.0\].*divide values for 0-255 pixels by 255"),
    "mean by name": Case(said(mean="mnist", std="mnist"), r"mean is 'mnist'; it must be a number"),
    "std of zero": Case(said(std=0.0), r"std is \[0.0\].*above 0"),
    "three channels of mean": Case(said(mean=[0.5] * 3), r"mean has 3 values; the images have 1 channel"),
    "unknown attack": Case(said(method="dai"), r"did you mean 'dia'"),
    "no attack": Case(said(method=None), r"unknown attack 'None'"),
    "an argument of another tool": Case(said(num_classes=10), r"'num_classes'; did you mean 'classes'"),
    "negative seed": Case(said(seed=-1), r"seed is -1; it must be a whole number"),
    "progress that cannot be called": Case(said(method="analytic", progress=True), r"progress is True"),
    "an attack that needs masks": Case(said(method="wiig"), r"true masks, which no server has; use one of"),
    "unknown setting": Case(said(max_iteration=3), r"did you mean 'max_iterations'"),
    "setting out of range": Case(said(max_iterations=0), r"max_iterations = 0: must be at least 1"),
    "rate of 1": Case(said(dropout_rates=1.0), r"has 1.0; a rate is a number, at least 0 and below 1"),
    "rate as text": Case(said(dropout_rates={"3": "0.5"}), r"3 has '0.5'; a rate is a number"),
    "rate of True": Case(said(dropout_rates=True), r"has True; a rate is a number"),
    "rate of no dropout": Case(said(dropout_rates={"2": 0.5}), r"unknown dropout module '2'"),
    "unknown mode": Case(said(client_mode="training"), r"client_mode is 'training'"),
}

WARNINGS = {
    "float16 weights": Case(weights(torch.Tensor.half), r"rounding \(0.001\) is about \d+%", {"lr": 0.01}),
    "bfloat16 gradient": Case(gradient(lambda g: {n: v.bfloat16() for n, v in g.items()}), r"holds bfloat16; rounding"),
    "tiny steps": Case(weights(protocol=dia.FedSGD(1e-6)), r"their rounding .* is about", {"lr": 1e-6}),
    "prefix of DataParallel": Case(gradient(lambda g: {f"module.{n}": v for n, v in g.items()}), r"prefix 'module.'"),
    "learning rate unknown": Case(weights(protocol=None), r"learning_rate was not given"),
    "learning rate too small": Case(weights(protocol=dia.FedSGD(LR / 20)), r"times too large: a larger learning rate"),
    "learning rate too large": Case(weights(protocol=dia.FedSGD(LR * 20)), r"a learning rate .* smaller than said"),
    "loss summed over images": Case(
        said(images=4), r"a loss summed over images", {"images": 4, "loss": summed, "labels": [2, 5, 5, 2]}
    ),
    "another loss": Case(said(), r"does not add up to zero", {"loss": binary}),
    "first step of Adam": Case(weights(), r"same amount .*first step of Adam", ADAM),
    "weight decay not said": Case(weights(), r"weight decay", {"weight_decay": 0.1}),
    "more steps than said": Case(weights(), r"gives? at most 1: more images, more steps|too large", {"epochs": 3}),
    "wrong label": Case(said(labels=[4]), r"says that class 2 is among the client's images, and labels is class 4"),
    "more images than said": Case(said(), r"classes 2, 5, 8 are among .* but images is 1", {"images": 3}),
    "an aggregate of clients": Case(said(images=2), r"or the update is a mean over several clients", {"images": 4}),
    "fewer images than said": Case(said(images=3), r"has rank 1, and 3 different images give 3"),
    "mean and std not given": Case(said(mean=None, std=None), r"mean and std were not given"),
    "wrong mean and std": Case(said(mean=0.5, std=0.1), r"mean and std are not those"),
    "mean and std of wider images": Case(said(mean=0.5, std=0.05), r"mean and std are not those"),
    "model in eval mode": Case(
        lambda c: {"update": c.gradient, "model": network().eval()}, r"eval mode, but clients train: 3 are taken"
    ),
    "dropout ignored": Case(said(dropout_rates=0.0), r"do not explain the update.*dropout rates"),
    "noise": Case(gradient(lambda g: {n: v + 0.05 * torch.randn_like(v) for n, v in g.items()}), r"or noise"),
    "clipped": Case(gradient(lambda g: {n: v / 100 for n, v in g.items()}), r"smaller than said, clipping"),
    "sign compression": Case(gradient(lambda g: {n: v.sign() for n, v in g.items()}), r"do not explain|adds? up"),
    "pruned": Case(gradient(lambda g: {n: v * (v.abs() > v.abs().mean()) for n, v in g.items()}), r"rank \d+|add up"),
    "random numbers": Case(gradient(lambda g: {n: torch.randn_like(v) for n, v in g.items()}), r"has rank 10|add up"),
    "another model's gradient": Case(
        lambda c: {"update": c.gradient, "model": nn.Sequential(nn.Flatten(), nn.Linear(144, 64), nn.GELU(),
                                                                nn.Dropout(0.5), nn.Linear(64, CLASSES))},
        r"do not explain the update",
    ),
    "too few iterations": Case(said(max_iterations=2), r"do not explain the update.*too few iterations"),
    "analytic on a batch that it cannot separate": Case(
        said(images=3, method="analytic"), r"do not explain|does not apply",
        {"images": 3, "model": network(0.0)},
    ),
}  # fmt: skip


def call(case: Case) -> tuple[Client, Call]:
    torch.manual_seed(1)
    client = train_client(**{"lr": LR} | case.client)
    arguments = {
        "model": client.model,
        "shape": SHAPE,
        "method": "dia_lbfgs",
        "max_iterations": 40,
        "device": "cpu",
    }
    return client, arguments | NORMALISATION | case.make(client)


def test_there_are_enough_of_them() -> None:
    assert len(ERRORS) + len(WARNINGS) >= 40


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_names_the_cause_before_any_iteration(name: str) -> None:
    _, arguments = call(ERRORS[name])
    iterations: list[int] = []
    arguments = {"progress": lambda iteration, distance: iterations.append(iteration)} | arguments
    with pytest.raises(DiaError, match=ERRORS[name].message):
        dia.invert(**arguments)
    assert not iterations


@pytest.mark.parametrize("name", WARNINGS)
def test_a_warning_names_the_cause(name: str) -> None:
    _, arguments = call(WARNINGS[name])
    r = dia.invert(**arguments)
    assert any(_found(WARNINGS[name].message, warning) for warning in r.warnings), r.warnings


def _found(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def test_a_scripted_model_is_refused() -> None:
    client = train_client()
    with pytest.raises(UpdateError, match="ScriptModule"):
        dia.invert(torch.jit.trace(network().eval(), torch.zeros(1, *SHAPE)), client.gradient, shape=SHAPE)
