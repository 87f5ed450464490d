"""Defences of a client against leakage, apart from dropout."""

from typing import Literal

from pydantic import Field

from dia.utils.strict_model import StrictFloat, StrictModel

Quantisation = Literal["none", "int8", "sign"]


class DefenceSettings(StrictModel):
    """Defences of the client, in the order in which they are applied: clip, noise, prune, quantise."""

    defence_clip_norm: StrictFloat | None = Field(
        None,
        gt=0,
        description="Largest norm of what a client sends, over all parameters together: it is scaled down to this "
        "before anything else. Above 0; null: no clipping.",
    )
    defence_noise_std: StrictFloat = Field(
        0.0,
        ge=0,
        description="Standard deviation of Gaussian noise on every entry of what a client sends, after clipping. "
        "At least 0; 0: no noise.",
    )
    defence_keep_fraction: StrictFloat = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of each parameter's entries that a client sends, the largest in magnitude; the others are "
        "set to 0, after the noise. In (0, 1]; 1: all.",
    )
    defence_quantisation: Quantisation = Field(
        "none",
        description="How entries are rounded, last of all: none, int8 (255 levels per parameter) or sign (one "
        "magnitude per parameter).",
    )
