"""One client's update as the gradient of every parameter, whatever was sent; refused where it cannot be one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dia.errors import UpdateError
from dia.federated.update import ClientUpdate
from dia.gradients.factored import DenseGradient
from dia.inversion.client_model import unwrap
from dia.inversion.protocol import Protocol
from dia.utils.validation_errors import unknown_name_message

Kind = Literal["gradient", "difference", "weights"]
Sign = Literal["after-before", "before-after"]
Tensors = Mapping[str, Any] | Sequence[Any] | nn.Module | ClientUpdate
"""Tensors or arrays by name; or in the order of ``model.parameters()`` or of ``model.state_dict()``; or a module."""

WRAPPER_PREFIXES = ("module.", "_orig_mod.", "_module.")
"""Prefixes that DataParallel, torch.compile and Opacus put before the names of a state dict."""
ROUNDING_MATTERS = 0.01
"""Share of a difference of weights that may be their rounding; beyond it a warning says so."""


@dataclass
class Received:
    """The gradient that a client sent, or what its weights tell of it.

    Attributes:
        gradient: By parameter name, float64 on the CPU, without parameters that took no part.
        scale_known: Whether its magnitude is the gradient's.
        noise: Estimated share of it that is rounding.
        warnings: What is odd about it.
    """

    gradient: dict[str, Tensor]
    scale_known: bool
    noise: float = 0.0
    warnings: list[str] = field(default_factory=list)

    @property
    def norms(self) -> dict[str, float]:
        """The norm of every parameter's gradient."""
        return {name: float(value.norm()) for name, value in self.gradient.items()}

    def client_update(self, dtype: torch.dtype) -> ClientUpdate:
        """The form in which attacks take it."""
        return ClientUpdate.of(
            {name: DenseGradient(value.to(dtype)[None]) for name, value in self.gradient.items()}
        )


def receive(
    model: nn.Module, update: Tensors, kind: Kind, before: Tensors | None, sign: Sign, protocol: Protocol
) -> Received:
    """Turn an update into the gradient behind it.

    Args:
        model: The copy of the client's model; ``before`` is loaded into it.
        update: What came back.
        kind: What it is.
        before: The weights that the server sent; None: those of ``model``.
        sign: Which way round a difference is.
        protocol: How the client trained.

    Raises:
        UpdateError: It does not belong to the model, holds no numbers to attack, or is not of its kind.
    """
    if kind not in ("gradient", "difference", "weights"):
        raise UpdateError(f"kind is {kind!r}; it must be 'gradient', 'difference' or 'weights'")
    if sign not in ("after-before", "before-after"):
        raise UpdateError(f"sign is {sign!r}; it must be 'after-before' or 'before-after'")
    warnings: list[str] = []
    if before is not None:
        load_weights(model, matched(model, before, "before", warnings))
    weights = {name: parameter.detach().double() for name, parameter in model.named_parameters()}
    values = matched(model, update, "update", warnings)
    sent = {name: values[name].double() for name in weights if name in values}
    _check_numbers(sent)
    _check_kind(sent, weights, kind)
    if kind == "gradient":
        return Received(_taking_part(sent), True, 0.0, warnings)
    eps = max(torch.finfo(value.dtype).eps for value in values.values() if value.is_floating_point())
    difference = {name: value - weights[name] for name, value in sent.items()} if kind == "weights" else sent
    size, change = _norm({name: weights[name] for name in sent}), _norm(difference)
    if change == 0:
        raise UpdateError(
            "update: equal to the weights before; the client trained nothing, sent back what it got, or trained "
            "model itself: give before=, the weights that were sent out"
        )
    noise = 0.3 * eps * size / change if kind == "weights" else 0.0
    if noise > ROUNDING_MATTERS:
        warnings.append(
            f"update: the weights changed by {change / size:.1g} of their size, and their rounding ({eps:.1g}) is "
            f"about {noise:.0%} of that change: send float32 weights, the difference, or take larger steps"
        )
    _look_for_adam(difference, warnings)
    rate = protocol.learning_rate
    if rate is None:
        warnings.append(
            "protocol: learning_rate was not given, so the scale of the gradient is unknown; "
            "dia.FedSGD(learning_rate=...) says it"
        )
    factor = (1 if kind == "difference" and sign == "before-after" else -1) / (rate or 1.0)
    gradient = {
        name: factor * value - protocol.weight_decay * weights[name] for name, value in difference.items()
    }
    return Received(_taking_part(gradient), rate is not None, noise, warnings)


def matched(model: nn.Module, tensors: Tensors, what: str, warnings: list[str]) -> dict[str, Tensor]:
    """Tensors by the names of the model's state dict, checked against it; buffers that are not there are no fault.

    Args:
        model: Gives names and shapes.
        tensors: By name, or in order.
        what: What errors call them.
        warnings: Receives what is odd about them.

    Raises:
        UpdateError: Names, number, shapes or types do not fit.
    """
    parameters = dict(model.named_parameters())
    state = model.state_dict()  # parameters and buffers
    frozen = set(state) - set(parameters)
    given = _by_name(tensors, list(parameters), list(state), what, warnings)
    if unknown := [name for name in given if name not in state]:
        raise UpdateError(
            f"{what}: {unknown_name_message('tensor', unknown[0], parameters)}"
            + (f" ({len(unknown)} unknown names in all)" if len(unknown) > 1 else "")
        )
    if missing := [name for name in parameters if name not in given]:
        raise UpdateError(
            f"{what}: no tensor for {', '.join(missing)}; freeze parameters that the client does not train "
            "(requires_grad_(False)), or give all"
        )
    found = {}
    for name, value in given.items():
        if value is None and name in parameters:
            continue
        tensor = _tensor(value, f"{what}: {name}")
        if name in frozen:
            if tensor.shape == state[name].shape:
                found[name] = tensor
            continue
        expected = tuple(state[name].shape)
        if tuple(tensor.shape) != expected:
            hint = ""
            if tuple(tensor.shape) == expected[::-1] and len(expected) > 1:
                hint = ": it is transposed, as Keras and Flax store it; give its transpose"
            elif tensor.shape[1:] == expected:
                hint = f": the first dimension looks like {tensor.shape[0]} clients; attack one at a time"
            raise UpdateError(f"{what}: {name} has shape {tuple(tensor.shape)}, the model {expected}{hint}")
        if not tensor.is_floating_point():
            hint = (
                "" if tensor.is_complex() else ": turn quantised tensors back with their scale and zero point"
            )
            raise UpdateError(
                f"{what}: {name} holds {str(tensor.dtype).removeprefix('torch.')}, not floating-point numbers{hint}"
            )
        found[name] = tensor
    if not found:
        raise UpdateError(f"{what}: no tensor at all; run backward() before reading gradients")
    halves = sorted({str(t.dtype).removeprefix("torch.") for t in found.values() if t.is_floating_point()} - {
        "float32", "float64"
    })  # fmt: skip
    if halves:
        warnings.append(
            f"{what}: holds {', '.join(halves)}; rounding hides the small entries, and pictures get worse"
        )
    return found


def _by_name(
    tensors: Tensors, parameters: list[str], state: list[str], what: str, warnings: list[str]
) -> dict[str, Any]:
    """Whatever tensors are given as, by name."""
    if isinstance(tensors, nn.Module):
        return dict(unwrap(tensors).state_dict())
    if isinstance(tensors, ClientUpdate):
        if len(tensors.norm) != 1:
            raise UpdateError(f"{what}: updates of {len(tensors.norm)} clients; select one of them")
        return {name: piece.dense()[0] for name, piece in tensors.pieces.items()}
    if isinstance(tensors, Mapping):
        named = dict(tensors)
        for prefix in WRAPPER_PREFIXES:
            if (
                named
                and all(str(name).startswith(prefix) for name in named)
                and not any(name.startswith(prefix) for name in state)
            ):
                warnings.append(f"{what}: the prefix '{prefix}' of a wrapper was taken off all names")
                named = {str(name).removeprefix(prefix): value for name, value in named.items()}
        return named
    if isinstance(tensors, Tensor | np.ndarray | str | bytes) or not isinstance(tensors, Sequence):
        raise UpdateError(
            f"{what} is a {type(tensors).__name__}; it must be a dict of tensors, a list of tensors, or a module "
            "(a generator is put into list(...), a file is read with dia.read_update)"
        )
    for names in (parameters, state):
        if len(tensors) == len(names):
            return dict(zip(names, tensors, strict=True))
    raise UpdateError(
        f"{what}: a list of {len(tensors)} tensors; the model has {len(parameters)} parameters "
        f"(and {len(state)} entries of its state dict)"
    )


def _tensor(value: Any, what: str) -> Tensor:
    """A tensor or array as a tensor on the CPU."""
    if isinstance(value, Tensor):
        if value.is_sparse:
            value = value.to_dense()
        return value.detach().cpu()
    try:
        array = np.asarray(value)
        return torch.from_numpy(np.array(array))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UpdateError(
            f"{what} is a {type(value).__name__}, not a tensor or an array of numbers"
        ) from error


def load_weights(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Load the weights that the server sent, as :func:`matched` gives them; buffers without a value stay.

    Raises:
        UpdateError: They are not finite, or all zero.
    """
    state = model.state_dict()
    _check_numbers({name: value for name, value in values.items() if value.is_floating_point()}, "before")
    model.load_state_dict({name: values.get(name, old).to(old) for name, old in state.items()})


def _check_numbers(values: dict[str, Tensor], what: str = "update") -> None:
    bad = {name: int((~value.isfinite()).sum()) for name, value in values.items()}
    if any(bad.values()):
        where = ", ".join(
            f"{name} ({count} of {values[name].numel()})" for name, count in bad.items() if count
        )
        raise UpdateError(f"{what}: values that are not finite in {where}; training diverged or overflowed")
    if not any(bool(value.any()) for value in values.values()):
        raise UpdateError(f"{what}: all values are zero; there is nothing to attack")


def _check_kind(sent: dict[str, Tensor], weights: dict[str, Tensor], kind: Kind) -> None:
    """Refuse weights that were called a difference, and the other way round."""
    own = {name: weights[name] for name in sent}
    cosine = sum(float((sent[n] * own[n]).sum()) for n in sent) / max(_norm(sent) * _norm(own), 1e-300)
    if kind != "weights" and cosine > 0.9:
        raise UpdateError(
            f"update: it points where the model's weights do (cosine {cosine:.3f}), so these are weights, not a "
            f"{kind}: say kind='weights'"
        )
    if kind == "weights" and cosine < 0.5 and _norm(sent) < 0.5 * _norm(own):
        raise UpdateError(
            f"update: it is far smaller than the weights before and does not resemble them (cosine {cosine:.3f}): a "
            "difference or a gradient, not weights; say kind='difference' or 'gradient', or give the right before="
        )


def _look_for_adam(difference: dict[str, Tensor], warnings: list[str]) -> None:
    """The first step of Adam, and sign compression, move all entries by one amount."""
    moved = torch.cat([value.flatten() for value in difference.values()]).abs()
    moved = moved[moved > 0]
    if len(moved) > 100 and float(moved.std() / moved.mean()) < 0.02:
        warnings.append(
            f"update: nearly all entries changed by the same amount ({float(moved.mean()):.3g}), as by the first "
            "step of Adam or by sign compression: no multiple of a gradient; plain SGD is needed"
        )


def _taking_part(gradient: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in gradient.items() if bool(value.any())}


def _norm(values: dict[str, Tensor]) -> float:
    return float(torch.stack([value.square().sum() for value in values.values()]).sum().sqrt())
