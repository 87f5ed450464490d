"""Checks of a client's description against its update: everything before the first iteration."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dia.attacks.label_inference import certain_labels
from dia.errors import UpdateError
from dia.evaluation.attacker_view import inferred_labels
from dia.federated.update import ClientUpdate
from dia.gradients.engine import GradientEngine
from dia.inversion.checks import Case, check_direction, check_update
from dia.inversion.client_model import DropoutRates, Shape, client_copy, count_classes, unwrap
from dia.inversion.protocol import Protocol, check_protocol
from dia.inversion.received import Received
from dia.inversion.setting import Setting


def describe_setting(
    model: nn.Module,
    *,
    shape: Shape,
    classes: int | None,
    labels: Sequence[int] | Tensor | int | Literal["infer"],
    images: int | None,
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
    sends_gradient: bool,
    protocol: Protocol,
    dropout_rates: DropoutRates,
    client_mode: Literal["train", "eval"] | None,
    method: str,
    device: str,
    seed: int,
    changes: dict[str, Any],
) -> tuple[Setting, Tensor | None]:
    """The setting of an attack, and the labels (N,), None where they are to be inferred.

    Args:
        sends_gradient: Whether the client sends a gradient, not weights or their difference.
        changes: Settings of the attack that are not its own defaults.

    The other arguments are those of :func:`dia.inversion.invert.invert`, which says what is raised.
    """
    network, warnings = client_copy(unwrap(model), dropout_rates, client_mode)
    num_classes = count_classes(network, shape)
    if classes not in (None, num_classes):
        raise UpdateError(f"classes is {classes}, and the model has {num_classes} outputs")
    known = _known_labels(labels, num_classes)
    count = _image_count(images, known)
    warnings += check_protocol(protocol, count, sends_gradient)
    setting = Setting.of(
        network,
        shape,
        num_classes,
        count,
        protocol,
        dropout_rates,
        method,
        device,
        seed,
        mean,
        std,
        changes,
    )
    setting.warnings[:0] = warnings
    return setting, known


def examine(
    setting: Setting, client: GradientEngine, received: Received, known: Tensor | None
) -> tuple[ClientUpdate, Tensor, list[str]]:
    """The update as the attack takes it, its labels (N,), and warnings.

    Args:
        setting: With the weights that the server sent.
        client: The setting's engine.
        received: The update of one client.
        known: Its labels (N,); None where they are to be inferred.

    Raises:
        UpdateError: Its sign is wrong beyond doubt.
        AttackError: It is not finite in the attack's precision, or labels cannot be inferred.
    """
    steps = len(setting.protocol.minibatches(setting.images))
    case = Case(client, received, known, setting.images, steps, setting.normalisation)
    warnings = check_update(case)
    sent = received.client_update(setting.dtype)
    if known is None:
        known = inferred_labels(
            client, sent, setting.images, setting.seed, setting.normalisation, received.scale_known
        )[0]
        if setting.images == 1 and not bool(certain_labels(client.model, sent, 1, client.num_classes)):
            warnings.append(f"labels: {int(known)} is a guess: the gradient does not tell it for certain")
    return sent, known, [*received.warnings, *warnings, *check_direction(case, known, setting.seed)]


def _known_labels(labels: Any, num_classes: int) -> Tensor | None:
    """Labels (N,), or None where they are to be inferred."""
    if isinstance(labels, str):
        if labels != "infer":
            raise UpdateError(f"labels is {labels!r}; it must be class numbers or 'infer'")
        return None
    try:
        known = torch.as_tensor(labels).cpu()
    except (TypeError, ValueError, RuntimeError):
        known = torch.empty(0)
    if known.is_floating_point() or known.dtype == torch.bool or not known.numel() or known.ndim > 1:
        raise UpdateError(
            f"labels is {labels!r}; it must be whole numbers, one class per image (argmax(1) of one-hot rows), or "
            "'infer'"
        )
    known = known.reshape(-1)
    wrong = [label for label in known.tolist() if not 0 <= label < num_classes]
    if wrong:
        raise UpdateError(
            f"labels: {wrong[0]} is no class of the model, whose outputs are 0 to {num_classes - 1}"
        )
    return known.long()


def _image_count(images: int | None, labels: Tensor | None) -> int:
    if images is not None and (isinstance(images, bool) or not isinstance(images, int) or images < 1):
        raise UpdateError(f"images is {images!r}; it must be a whole number of at least 1")
    if images is not None and labels is not None and images != len(labels):
        raise UpdateError(f"images is {images}, and there are {len(labels)} labels; one per image is needed")
    return images or (1 if labels is None else len(labels))
