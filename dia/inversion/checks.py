"""Check that an update can be what it is said to be, before any iteration, answered by the gradient itself.

The last layer tells most. Its bias gradient is ``mean_n (p_nc - [y_n = c])`` with softmax probabilities p: negative
only for classes that are among the images, never below their share, and zero in sum, whatever the dropout. The gradient
of a linear layer is a sum of one outer product per image, so its rank is at most the number of images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dia.attacks.label_inference import last_layer
from dia.datasets.normalisation import Normalisation
from dia.errors import AttackError, UpdateError
from dia.gradients.engine import GradientEngine
from dia.inversion.received import Received
from dia.models.dropout import eval_mode
from dia.utils.randomness import bernoulli, generator

TOLERANCE = 1e-3
"""Relative size below which an entry of the bias gradient counts as zero."""
SCALE_FACTOR = 5.0
"""Largest ratio of a gradient's norm and that of made-up clients without a warning."""
MADE_UP_CLIENTS = 8
POINTS_AWAY = -0.02
"""Largest cosine with any made-up client at which the sign is doubted."""
MOST_ENTRIES = 2_000_000
"""Entries of the largest matrix whose rank is computed."""


@dataclass(frozen=True)
class Case:
    """The things that are checked together.

    Attributes:
        engine: The model as the attacker believes the client ran it.
        received: What the client sent.
        labels: (N,) as known; None where they are inferred.
        images: N.
        steps: Local steps of the client.
        normalisation: In the engine's precision.
    """

    engine: GradientEngine
    received: Received
    labels: Tensor | None
    images: int
    steps: int
    normalisation: Normalisation


def check_update(case: Case) -> list[str]:
    """Warnings about an update, before the attack.

    Raises:
        UpdateError: Its sign is wrong beyond doubt.
    """
    return [*_check_head(case), *_check_rank(case), *_check_pixels(case)]


def _check_head(case: Case) -> list[str]:
    """Sign, labels, number of images, loss and scale, from the gradient of the last bias."""
    try:
        name, layer = last_layer(case.engine.model, case.engine.num_classes)
    except AttackError:
        return []
    bias = case.received.gradient.get(f"{name}.bias".lstrip("."))
    if layer.bias is None or bias is None:
        return []
    slack = (TOLERANCE + case.received.noise) * float(bias.abs().max())
    negative, positive = bias < -slack, bias > slack
    classes, images = len(bias), case.images
    counts = torch.bincount(case.labels, minlength=classes) if case.labels is not None else None
    if int(negative.sum()) > images >= int(positive.sum()) and bias.max() > -bias.min():
        raise UpdateError(
            f"update: its sign is the wrong way round: the gradient of {name}.bias is positive for "
            f"{_classes(positive)} alone, and it is negative for the classes of the images alone. Say "
            "sign='before-after' for such a difference; a gradient points uphill"
        )
    warnings = []
    if int(negative.sum()) > images:
        warnings.append(
            f"{name}.bias says that {_classes(negative)} are among the client's images: {int(negative.sum())} "
            f"classes, but images is {images}. More images were used, or the update is a mean over several clients"
        )
    elif counts is not None:
        absent, present = counts == 0, counts > 0
        if bool((negative & absent).any()) or (images == 1 and not bool((negative & present).any())):
            warnings.append(
                f"{name}.bias says that {_classes(negative)} is among the client's images, and labels is "
                f"{_classes(present)}: the labels are wrong (labels='infer' reads them off), or the sign is"
            )
    total = float(bias.sum().abs() / bias.abs().sum())
    if total > 0.02 + case.received.noise:
        warnings.append(
            f"the gradient of {name}.bias does not add up to zero (it leaves {total:.0%}), as it does for softmax "
            "cross-entropy: another loss, weight decay, momentum, or noise; the attack assumes plain cross-entropy"
        )
    if case.received.scale_known:
        warnings += _check_scale(case, name, bias / case.steps, counts)
    return warnings


def _check_scale(case: Case, name: str, bias: Tensor, counts: Tensor | None) -> list[str]:
    """Compare the magnitude of the last bias gradient with what any client, and what made-up clients have."""
    lowest = -float(counts.max()) / case.images if counts is not None else -1.0
    found = float(bias.min())
    if found < 1.05 * lowest:
        return [
            f"the gradient of {name}.bias goes down to {found:.3g}; the mean cross-entropy of these labels cannot go "
            f"below {lowest:.3g}. The update is at least {found / lowest:.1f} times too large: a larger learning rate, "
            "more steps, or a loss summed over images instead of averaged"
        ]
    return []


def _check_rank(case: Case) -> list[str]:
    """Compare the number of images with the rank of a linear layer's gradient."""
    most = case.images * case.steps
    matrices = {
        name: case.received.gradient[f"{name}.weight".lstrip(".")]
        for name in _rowwise_linear(case.engine)
        if f"{name}.weight".lstrip(".") in case.received.gradient
    }
    fitting = {
        name: matrix
        for name, matrix in matrices.items()
        if min(matrix.shape) > most + 1 and matrix.numel() <= MOST_ENTRIES
    }
    if not fitting:
        return []
    name = min(fitting, key=lambda name: fitting[name].numel())
    values = torch.linalg.svdvals(fitting[name])
    rank = int((values > values[0] * max(1e-4, 10 * case.received.noise)).sum())
    if rank > most:
        return [
            f"the gradient of {name}.weight has rank {rank}, and {case.images} images in {case.steps} step(s) give at "
            f"most {most}: more images, more steps, several clients, or noise, weight decay, compression"
        ]
    if case.steps == 1 and rank < case.images:
        return [
            f"the gradient of {name}.weight has rank {rank}, and {case.images} different images give {case.images}: "
            "the number of images may be too large"
        ]
    return []


def _linear_inputs(engine: GradientEngine, x: Tensor) -> dict[str, list[Tensor]]:
    """The inputs of every linear layer, one per call, for images ``x``."""
    model, inputs = engine.model, dict[str, list[Tensor]]()
    handles = [
        module.register_forward_pre_hook(
            lambda module, args, name=name: inputs.setdefault(name, []).append(args[0])
        )
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with torch.no_grad(), eval_mode(model):
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return inputs


def _rowwise_linear(engine: GradientEngine) -> list[str]:
    """Names of linear layers that see one row per image."""
    inputs = _linear_inputs(engine, next(engine.model.parameters()).new_zeros(2, *engine.shape))
    return [name for name, calls in inputs.items() if [call.ndim for call in calls] == [2]]


def _check_pixels(case: Case) -> list[str]:
    """One image behind a first linear layer with a bias: the gradient shows it, and so whether mean and std fit."""
    if case.images > 1 or case.steps > 1:
        return []
    gradient, engine = case.received.gradient, case.engine
    probe = torch.linspace(0, 1, math.prod(engine.shape)).view(1, *engine.shape)
    probe = probe.to(next(engine.model.parameters()))
    for name, calls in _linear_inputs(engine, probe).items():
        module = engine.model.get_submodule(name)
        sees_pixels = len(calls) == 1 and torch.equal(calls[0], probe.flatten(1))
        if not sees_pixels or module.bias is None:
            continue
        weight, bias = (gradient.get(f"{name}.{part}".lstrip(".")) for part in ("weight", "bias"))
        if weight is None or bias is None:
            return []
        x = ((bias @ weight) / bias.square().sum()).view(case.engine.shape)
        shown = x * case.normalisation.std.cpu().double() + case.normalisation.mean.cpu().double()
        return range_warnings(shown, f"the image that {name} shows")
    return []


def range_warnings(pixels: Tensor, what: str, certain: bool = True) -> list[str]:
    """Tell whether pixels (..., C, H, W) fill [0, 1], as those of photographs and digits do."""
    low, high = float(pixels.min()), float(pixels.max())
    if certain and (low < -0.1 or high > 1.1):
        return [
            f"{what} has pixels from {low:.2f} to {high:.2f}, not in [0, 1]: mean and std are not those of the "
            "client's images, or the client scales them otherwise"
        ]
    if high - low < 0.5:
        return [
            f"{what} has pixels from {low:.2f} to {high:.2f} only: unless it has little contrast, mean and std are not "
            "those of the client's images"
        ]
    return []


def made_up_clients(case: Case, labels: Tensor, seed: int) -> tuple[Tensor, float]:
    """Compare the update with those of K made-up clients that have these labels.

    Their images go from dark to bright: in the layers behind the pixels, and behind features of either sign, gradients
    of dark and bright images point away from each other. So directions are compared in the last layer, where there is
    one.

    Args:
        case: What is checked.
        labels: (N,) as known or inferred.
        seed: Where images and masks of the made-up clients are drawn from.

    Returns:
        (K,) cosines; and the norm of the update by the median of theirs.
    """
    engine, count = case.engine, MADE_UP_CLIENTS
    reference = next(engine.model.parameters())
    rng = generator(seed, "made_up_clients")
    brightness = torch.linspace(0, 1, count, dtype=torch.float64).view(-1, 1, 1, 1, 1)
    noise = torch.rand(count, case.images, *engine.shape, generator=rng, dtype=torch.float64) - 0.5
    pixels = (brightness + noise / 2).clamp(0, 1)
    masks = [
        bernoulli((count, *site.mask_shape(case.images)), 1 - site.rate, rng, reference.dtype).to(reference)
        for site in engine.sites
    ]
    x = case.normalisation.normalise(pixels).to(reference)
    pieces = engine.gradients(x, masks, labels.to(reference.device).expand(count, -1), differentiable=False)
    try:
        last = f"{last_layer(engine.model, engine.num_classes)[0]}.".lstrip(".")
    except AttackError:
        last = ""
    received = case.received.gradient
    compared = {name for name in received if name.startswith(last)} or set(received)
    products, all_squares, squares = torch.zeros(3, count, dtype=torch.float64)
    for name, piece in pieces.items():
        value = piece.dense().cpu().double().flatten(1)
        all_squares += value.square().sum(1)
        if name in compared:
            squares += value.square().sum(1)
            products += value @ received[name].flatten()
    norms = case.received.norms
    own, all_own = (math.hypot(*(norms[name] for name in names)) for names in (compared, norms))
    cosines = products / (squares.sqrt() * own + 1e-300)
    return cosines, all_own / float(all_squares.sqrt().median())


def check_direction(case: Case, labels: Tensor, seed: int) -> list[str]:
    """Compare the update with those of made-up clients that have these labels: sign and size, for any model.

    Args:
        case: What is checked.
        labels: (N,) as known or inferred.
        seed: Where images and masks of the made-up clients are drawn from.
    """
    cosines, ratio = made_up_clients(case, labels, seed)
    warnings = []
    if float(cosines.max()) < POINTS_AWAY:
        warnings.append(
            f"update: it points away from those of made-up clients with these labels (cosines {_list(cosines)}): the "
            "sign is probably the wrong way round, or the labels are wrong"
        )
    if case.received.scale_known and not 1 / SCALE_FACTOR <= ratio <= SCALE_FACTOR:
        cause = (
            "a loss summed over images, a learning rate or a number of steps larger than said"
            if ratio > 1
            else "a learning rate or a number of steps smaller than said, clipping, or a model that fits these images "
            "already and whose gradient tells little"
        )
        warnings.append(
            f"update: its norm is {ratio:.2g} times that of made-up clients in this setting: {cause}"
        )
    return warnings


def _classes(chosen: Tensor) -> str:
    numbers = chosen.nonzero().flatten().tolist()
    return f"class {numbers[0]}" if len(numbers) == 1 else f"classes {', '.join(map(str, numbers))}"


def _list(values: Tensor) -> str:
    numbers: Sequence[float] = values.tolist()
    return ", ".join(f"{value:.2f}" for value in numbers)
