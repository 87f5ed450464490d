"""The attacker's knowledge of the client besides its gradient."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from dia.utils.patterns import RATE
from dia.utils.strict_model import StrictInt, StrictModel


def _check_rate(value: object) -> str:
    """``known``, ``unknown``, or a rate, kept as text so that it is one kind of column."""
    if value in ("known", "unknown"):
        return str(value)
    text = str(value)
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if isinstance(value, bool) or not 0 <= rate < 1:
        raise ValueError("must be known, unknown or a rate in [0, 1)")
    return f"{rate:g}"


AttackerRate = Annotated[
    str,
    BeforeValidator(_check_rate),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["known", "unknown"]},
                {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                {"type": "string", "pattern": f"^{RATE}$"},
            ]
        }
    ),
]


class KnowledgeSettings(StrictModel):
    """The attacker's knowledge: what it is told, and what it must find out."""

    attacker_labels: Literal["known", "inferred"] = Field(
        "known",
        description="Labels of the private images: known, as in the paper, or inferred from what the client sent.",
    )
    attacker_dropout_rate: AttackerRate = Field(
        "known",
        description="The dropout rate that dia assumes: known (the client's own, as in the paper), a number in [0, 1) "
        "(right or wrong), or unknown (each layer's rate is what its optimised mask drops, starting at one half). "
        "ig needs none, and wiig always knows it.",
    )
    client_mask_seed_space: StrictInt | None = Field(
        None,
        ge=1,
        description="How many seeds a client chooses from when it seeds its dropout masks. At least 1; null: its "
        "generator cannot be guessed.",
    )
    seed_candidates: StrictInt = Field(
        4096,
        ge=1,
        description="Client seeds 0, 1, ... that the attack seed_search tries. At least 1; those below "
        "client_mask_seed_space are the ones clients use.",
    )
