"""Labels inferred from what a client sent: read off for one image, estimated counts for a batch.

The last layer ``z = W a + b`` has the gradient ``dL/dW_c = mean_n (p_nc - [y_n = c]) a_n``, with the softmax
probabilities p_n of image n and its features a_n. Dropout before the layer only changes the a_n.

* One image: row c is ``(p_c - [y = c]) a``. All rows but the label's point the same way and the label's is minus their
  sum, so its inner product with the sum of the others is the smallest (Zhao et al. 2020, iDLG, without the assumption
  of non-negative features, which GELU and layer normalisation break).
  That is certain (:func:`certain_labels`) where the rows are multiples of one vector, up to noise, and one of them
  clearly alone has its sign. Two rows without a bias mirror each other: their label is a guess.
* A batch: with the average features a and probabilities p of auxiliary images, row c is about ``(p_c - n_c / N) a``.
  The counts n_c follow, rounded so that they sum to N by giving one image at a time to the class with the most missing
  (Geng et al. 2021; Wainakh et al. 2022, LLG, in its white-box form).

Shapes: V victims, N images per victim, C classes.
"""

import torch
from torch import Tensor, nn

from dia.errors import AttackError
from dia.federated.update import ClientUpdate
from dia.models.dropout import eval_mode

AUXILIARY_IMAGES = 64
"""Number of random images from which the attacker estimates average features and probabilities."""


CLEAR = 6.0
"""A coefficient further from zero than this many standard errors has a certain sign (odds of 1 in 500 million)."""

CONTRADICTED = 0.1
"""Rows further, relatively, from multiples of one vector are not those of one image."""


def last_layer(model: nn.Module, num_classes: int) -> tuple[str, nn.Linear]:
    """The layer that gives the logits: the last ``nn.Linear`` with one output per class.

    Raises:
        AttackError: There is none.
    """
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == num_classes
    ]
    if not layers:
        raise AttackError(
            f"labels cannot be inferred: the model has no nn.Linear with {num_classes} outputs, one per class; "
            "set attacker_labels: known"
        )
    return layers[-1]


def infer_labels(
    model: nn.Module,
    received: ClientUpdate,
    images: int,
    num_classes: int,
    auxiliary_images: Tensor,
    scale: float | None,
) -> Tensor:
    """Labels (V, N) in ascending order: a gradient does not tell the position of an image in its batch.

    Args:
        model: The model that the server sent out, its dropout off.
        received: What the clients sent, on the CPU.
        images: Images N of a victim.
        num_classes: Number of classes C.
        auxiliary_images: (K, channels, H, W) normalised images of the attacker's own, where the model is; for batches.
        scale: Factor on the gradient that was sent; None where the server cannot know it.

    Raises:
        AttackError: The model has no last linear layer.
    """
    layer = last_layer(model, num_classes)[1]
    rows, bias = _last_gradients(model, received, num_classes)
    if images == 1:
        return _one_label(rows, bias)[:, None]
    features, probabilities = (average.to(rows) for average in _averages(model, layer, auxiliary_images))
    if bias is not None:  # a bias is the weight of a feature that is always 1
        rows = torch.cat([rows, bias[..., None]], 2)
        features = torch.cat([features, features.new_ones(1)])
    coefficients = rows @ features / features.square().sum()
    if scale is None:
        negative = coefficients < 0
        chance = (probabilities * negative).sum(1)
        scales = -(coefficients * negative).sum(1) / (1 - chance).clamp(min=1e-6)
    else:
        scales = coefficients.new_full((len(rows),), scale)
    missing = images * (probabilities - coefficients / scales.clamp(min=1e-30)[:, None])
    return _rounded(missing, images)


def certain_labels(model: nn.Module, received: ClientUpdate, images: int, num_classes: int) -> Tensor:
    """(V,) whether the labels of :func:`infer_labels` are certain, which those of batches never are.

    Args:
        model, received, images, num_classes: As for :func:`infer_labels`.

    Raises:
        AttackError: As for :func:`infer_labels`.
    """
    rows, bias = _last_gradients(model, received, num_classes)
    if images > 1:
        return torch.zeros(len(rows), dtype=torch.bool)
    return torch.stack(
        [_is_certain(row, None if bias is None else bias[victim]) for victim, row in enumerate(rows.double())]
    )


def _is_certain(rows: Tensor, bias: Tensor | None) -> Tensor:
    """Tell whether rows (C, features) are multiples ``p_c - [y = c]`` of one vector, whose signs tell y."""
    left, values, _ = torch.linalg.svd(rows, full_matrices=False)
    if not bool(values[0] > 0) or not bool(values.isfinite().all()):
        return torch.tensor(False)
    size, rest = left[:, 0] * values[0], values[1:].norm()
    classes, features = rows.shape
    error = rest / max(1, (classes - 1) * features) ** 0.5 + torch.finfo(torch.float32).eps * values[0]
    fits = (rest <= CONTRADICTED * values[0]) & (size.sum().abs() <= CLEAR * classes**0.5 * error)
    if bias is not None:
        along = (size @ bias.double()) / size.square().sum()
        fits &= (bias - along * size).norm() <= CONTRADICTED * bias.norm()
        size = size * along.sign()
    positive, negative = (size > CLEAR * error).sum(), (size < -CLEAR * error).sum()
    if bias is not None:
        return fits & (negative == 1) & (positive >= 1)
    return fits & (torch.minimum(positive, negative) == 1) & (torch.maximum(positive, negative) >= 2)


def _last_gradients(
    model: nn.Module, received: ClientUpdate, num_classes: int
) -> tuple[Tensor, Tensor | None]:
    """The received gradients of the last layer's weight (V, C, features) and bias (V, C).

    Raises:
        AttackError: There is no such layer, or its weight's gradient was not sent.
    """
    name, layer = last_layer(model, num_classes)
    prefix = f"{name}." if name else ""
    if f"{prefix}weight" not in received.pieces:
        raise AttackError(
            "labels cannot be inferred: clients do not send the gradient of the last layer's weights "
            f"({prefix}weight is frozen or takes no part); set attacker_labels: known"
        )
    bias = received.pieces.get(f"{prefix}bias") if layer.bias is not None else None
    return received.pieces[f"{prefix}weight"].dense(), None if bias is None else bias.dense()


def _one_label(rows: Tensor, bias: Tensor | None) -> Tensor:
    """(V,) the label of a single image, from (V, C, features) rows and (V, C) biases."""
    if rows.shape[1] == 2:  # two rows mirror each other: only a sign tells them apart
        signs = rows.sum(2) if bias is None else bias  # without a bias: features are taken to be positive
        return signs.argmin(1)
    others = rows.sum(1, keepdim=True) - rows
    return (rows * others).sum(2).argmin(1)


@torch.no_grad()
def _averages(model: nn.Module, layer: nn.Linear, images: Tensor) -> tuple[Tensor, Tensor]:
    """Average input (features,) of ``layer`` and average softmax (C,) over ``images``, dropout off."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        with eval_mode(model):
            logits = model(images)
    finally:
        handle.remove()
    return seen[-1].flatten(0, -2).mean(0), logits.softmax(1).mean(0)


def _rounded(missing: Tensor, images: int) -> Tensor:
    """Labels (V, N), ascending, from estimated counts (V, C): one image at a time to the largest remainder."""
    rest = missing.clone()
    chosen = []
    for _ in range(images):
        label = rest.argmax(1)
        chosen.append(label)
        rest[torch.arange(len(rest)), label] -= 1
    return torch.stack(chosen, 1).sort(1).values


def align_to(inferred: Tensor, true: Tensor) -> Tensor:
    """The inferred labels (V, N) in the order of the true ones, as far as they agree; the wrong ones fill the gaps.

    Positions in a batch are interchangeable, so this tells an attack nothing. It makes position n stand for image n,
    as in the masks of well-informed attacks.
    """
    result = torch.empty_like(true)
    for victim, (guesses, labels) in enumerate(zip(inferred.tolist(), true.tolist(), strict=True)):
        open_slots = []
        for slot, label in enumerate(labels):
            if label in guesses:
                guesses.remove(label)
                result[victim, slot] = label
            else:
                open_slots.append(slot)
        for slot, guess in zip(open_slots, guesses, strict=True):
            result[victim, slot] = guess
    return result
