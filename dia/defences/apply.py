"""All defences that the settings ask for, in order."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dia.defences.clip import clip
from dia.defences.noise import add_noise
from dia.defences.prune import prune
from dia.defences.quantise import int8, sign
from dia.settings.defences import DefenceSettings

QUANTISED = {"int8": int8, "sign": sign}


def defended(settings: DefenceSettings) -> bool:
    """Whether the settings ask for any defence."""
    plain = DefenceSettings()
    return any(getattr(settings, name) != getattr(plain, name) for name in DefenceSettings.model_fields)


def keeps_scale(settings: DefenceSettings) -> bool:
    """Whether the magnitude of what is sent still tells the magnitude of the gradient."""
    return settings.defence_clip_norm is None and settings.defence_quantisation != "sign"


def defend(
    gradient: dict[str, Tensor], settings: DefenceSettings, generators: Sequence[torch.Generator]
) -> dict[str, Tensor]:
    """What the server receives: clipped, noisy, pruned, quantised, as far as the settings ask for it.

    Args:
        gradient: What each client would send, of every parameter, (V, *shape); zeros where it took no part.
        settings: The defences.
        generators: One a victim, for the noise.
    """
    if settings.defence_clip_norm is not None:
        gradient = clip(gradient, settings.defence_clip_norm)
    if settings.defence_noise_std > 0:
        gradient = add_noise(gradient, settings.defence_noise_std, generators)
    if settings.defence_keep_fraction < 1:
        gradient = prune(gradient, settings.defence_keep_fraction)
    if settings.defence_quantisation != "none":
        gradient = QUANTISED[settings.defence_quantisation](gradient)
    return gradient
