"""Apply the defences that the settings ask for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dia.defences.registry import DEFENCES
from dia.settings.defences import DefenceSettings
from dia.utils.lazy_import import load_object


def active_defences(settings: DefenceSettings) -> list[str]:
    """The settings of the defences that are on, in the order in which they are applied."""
    off = DefenceSettings()
    return [setting for setting in DEFENCES if getattr(settings, setting) != getattr(off, setting)]


def keeps_scale(settings: DefenceSettings) -> bool:
    """Tell whether the magnitude of what is sent still tells the magnitude of the gradient."""
    return settings.defence_clip_norm is None and settings.defence_quantisation != "sign"


def defend(
    gradient: dict[str, Tensor], settings: DefenceSettings, rngs: Sequence[torch.Generator]
) -> dict[str, Tensor]:
    """Apply every defence that is on, in order.

    Args:
        gradient: What each client would send, of every parameter, (V, *shape); zeros where it took no part.
        settings: The defences.
        rngs: One generator per victim, on the CPU, for defences that draw random numbers.

    Returns:
        What the server receives, in the shapes of ``gradient``.
    """
    for setting in active_defences(settings):
        gradient = load_object(DEFENCES[setting])(gradient, getattr(settings, setting), rngs)
    return gradient
