"""Rows of an attack that did not apply: their image is a placeholder, and its scores mean nothing."""

from typing import TYPE_CHECKING

from dia.attacks.stop_reasons import NOT_APPLICABLE
from dia.results.columns import SCORES

if TYPE_CHECKING:
    import pandas as pd

_OF_THE_IMAGE = {c.name for c in SCORES if c.type == "float64"} - {"seconds"} | {"claimed_fraction"}


def mask_not_applicable(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The rows, scores replaced by NaN where the attack did not apply.

    Args:
        rows: Result rows with their ``stop_reason``.
    """
    placeholder = rows["stop_reason"].str.startswith(NOT_APPLICABLE)
    if not placeholder.any():
        return rows
    scores = {name: rows[name].astype(float).mask(placeholder) for name in rows if name in _OF_THE_IMAGE}
    return rows.assign(**scores)
