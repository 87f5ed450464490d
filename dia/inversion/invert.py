"""The front door: attack one client's update of any torch model."""

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem
from dia.attacks.stop_reasons import NOT_APPLICABLE
from dia.errors import UpdateError
from dia.inversion.checks import range_warnings
from dia.inversion.client_model import DropoutRates, Shape, plain_attention
from dia.inversion.examination import describe_setting, examine
from dia.inversion.protocol import FedSGD, Protocol
from dia.inversion.received import Kind, Sign, Tensors, receive
from dia.inversion.result import Inversion, Twin
from dia.inversion.setting import SETTINGS, Progress
from dia.models.dropout import Site
from dia.utils.validation_errors import unknown_name_message

EXPLAINED = 0.01
"""Up to this matching distance the images count as an explanation of the update: docs/invert.md has the error rates."""
TWIN_MIN_SSIM = 0.5


def invert(
    model: nn.Module,
    update: Tensors,
    *,
    shape: Shape,
    classes: int | None = None,
    labels: Sequence[int] | Tensor | int | Literal["infer"] = "infer",
    images: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    kind: Kind = "gradient",
    before: Tensors | None = None,
    sign: Sign = "after-before",
    protocol: Protocol | None = None,
    dropout_rates: DropoutRates = "own",
    client_mode: Literal["train", "eval"] | None = None,
    method: str = "dia",
    device: str = "auto",
    seed: int = 0,
    twin: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Inversion:
    """Reconstruct the images behind what a client sent.

    Args:
        model: The model that the server sent out, a classifier with mean cross-entropy; it is copied, never changed.
            Its dropout must be ``nn.Dropout`` modules.
        update: What came back: tensors or arrays by name, or in the order of ``model.parameters()`` (or
            ``state_dict()``), such as ``[p.grad for p in model.parameters()]``; or the trained module.
        shape: (channels, height, width) of one image.
        classes: Number of classes, to be checked; None: as many as the model has outputs.
        labels: The images' classes, or ``"infer"``: read off the gradient of one image, where a warning says if that is
            not certain, and estimated for several.
        images: Number of images in the client's batch; None: as many as ``labels``, or one.
        mean: Normalisation of [0, 1] pixels before the model, one number per channel or one for all; None: 0.
        std: Likewise; None: 1.
        kind: ``gradient``; ``difference`` of weights; or ``weights`` after training.
        before: The weights that the server sent, as ``update`` is given; None: those of ``model``.
        sign: Which way round a difference is.
        protocol: How the client trained: :class:`~dia.inversion.protocol.FedSGD` (None: one step) or
            :class:`~dia.inversion.protocol.FedAvg`.
        dropout_rates: ``own``: those of the model's modules; one rate for all; rates by module name; or ``unknown``
            (``dia`` then finds them).
        client_mode: ``train`` or ``eval``; None: as ``model`` is, and train, with a warning, where that is in eval.
        method: Name of the attack: ``dia``, ``dia_lbfgs``, ``dia_readout``, ``dia_warm``, ``ig``, ``analytic``.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: Where the attack's starts are drawn from.
        twin: Whether a made-up client in the same setting is attacked first.
        progress: Called in every iteration of an iterative attack.
        **settings: Settings of the attack, such as ``max_iterations`` (docs/config.md, and ``precision``).

    Raises:
        UpdateError: The update, or what is said about it, cannot be right; the message says what would be.
        ModelError: The model cannot be attacked, such as for dropout that is no module.
        ConfigError: A setting that does not exist or is out of range.
        AttackError: No such device, or the attack cannot go on.
    """
    protocol = protocol or FedSGD()
    if progress is not None and not callable(progress):
        raise UpdateError(
            f"progress is {progress!r}; it must be a function of iteration and matching distance"
        )
    arguments = (*inspect.signature(invert).parameters, *SETTINGS)
    if unknown := [name for name in settings if name not in SETTINGS]:
        raise UpdateError(unknown_name_message("argument", unknown[0], arguments))
    with plain_attention():
        setting, labels_known = describe_setting(
            model,
            shape=shape,
            classes=classes,
            labels=labels,
            images=images,
            mean=mean,
            std=std,
            sends_gradient=kind == "gradient",
            protocol=protocol,
            dropout_rates=dropout_rates,
            client_mode=client_mode,
            method=method,
            device=device,
            seed=seed,
            changes=settings,
        )
        received = receive(setting.network, update, kind, before, sign, protocol)
        client = setting.engine()
        sent, known, warnings = examine(setting, client, received, labels_known)
        warnings[:0] = setting.warnings
        imitation = setting.twin(client, known) if twin else None
        if imitation is not None and not _came_back(imitation):
            warnings.append(
                "twin: the images of a made-up client in this setting do not come back (SSIM "
                f"{float(imitation.scores.ssim.mean()):.2f}, matching distance {imitation.distance:.2g}): a failure "
                "here says nothing about the client, the setting does not leak to this attack"
            )
        problem = setting.problem(client, sent, known[None], ["0000"])
        outcome = setting.run(problem, progress)
    pixels = setting.normalisation.to_pixels(outcome.x[0].cpu())
    return Inversion(
        images=pixels.float(),
        masks={} if outcome.masks is None else _named(problem.model.sites, outcome.masks),
        labels=known,
        distance=float(outcome.matching_distance[0]),
        iterations=int(outcome.iterations[0]),
        claimed=None if outcome.claimed is None else outcome.claimed[0].cpu(),
        stop_reason=outcome.stop_reason[0],
        warnings=tuple([*warnings, *_doubts(outcome, problem, pixels)]),
        notes=tuple(outcome.notes),
        gradient_norms=received.norms,
        settings=setting.settings.model_dump(mode="json", include=set(SETTINGS)),
        seconds=float(outcome.seconds[0]),
        twin=imitation,
    )


def _named(sites: Sequence[Site], masks: Sequence[Tensor]) -> dict[str, Tensor]:
    """Masks (N, *shape) of the one victim by dropout module, and call and local step where there are several."""
    calls = {site.name for site in sites if site.call}
    steps = any(site.step for site in sites)
    return {
        (site.name or "model")
        + (f"[call {site.call}]" if site.name in calls else "")
        + (f"[step {site.step}]" if steps else ""): mask[0].cpu()
        for site, mask in zip(sites, masks, strict=True)
    }


def _came_back(twin: Twin) -> bool:
    return float(twin.scores.ssim.mean()) >= TWIN_MIN_SSIM and twin.distance <= EXPLAINED


def _doubts(outcome: Outcome, problem: Problem, pixels: Tensor) -> list[str]:
    """Reasons not to believe the pictures."""
    distance, reason = float(outcome.matching_distance[0]), outcome.stop_reason[0]
    if reason.startswith(NOT_APPLICABLE):
        return [f"the attack does not apply, and the images are blank: {reason}"]
    if distance <= EXPLAINED:
        return range_warnings(pixels, "the reconstruction", certain=False)
    pieces = _worst_layers(outcome, problem)
    at_limits = float(((pixels <= 0) | (pixels >= 1)).double().mean())
    return [
        f"the images do not explain the update: the matching distance is {distance:.3f} (0 is a perfect match, "
        f"{EXPLAINED} the most that is believed); the gradients of {pieces} differ most. Do not trust the pictures. "
        "Possible causes: too few iterations or restarts; wrong labels, number of images, learning rate or steps; "
        f"dropout rates, mean or std that are not the client's ({at_limits:.0%} of the pixels are at 0 or 1); noise or "
        "compression; a setting that does not leak (twin=True tells)"
    ]


def _worst_layers(outcome: Outcome, problem: Problem, most: int = 3) -> str:
    """The parameters whose reproduced gradients contribute most to the mismatch."""
    one = problem.placed()
    x = outcome.x.to(one.device)
    masks = None if outcome.masks is None else [mask.to(x) for mask in outcome.masks]
    pieces = one.model.gradients(x, masks, one.labels, differentiable=False)
    gaps = {}
    for name, piece in pieces.items():
        found = piece.dense()[0].flatten()
        sent = (
            problem.gradient(0, name).flatten()
            if name in problem.received.pieces
            else torch.zeros_like(found)
        )
        gaps[name] = float(1 - torch.nn.functional.cosine_similarity(found, sent, dim=0))
    return ", ".join(sorted(gaps, key=lambda name: -gaps[name])[:most])
