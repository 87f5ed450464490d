"""Reasons why an attack on a victim ended: the values, or the beginnings, of the column ``stop_reason``."""

CONVERGED = "converged"
"""The best loss fell below ``loss_tolerance``."""

PATIENCE = "no_improvement"
"""The best loss was not improved on for ``early_stop_patience`` iterations."""

LIMIT = "max_iterations"
"""All iterations were made."""

NOT_APPLICABLE = "not_applicable"
"""Beginning of the reason of a victim that an attack cannot be used on; it has no reconstruction and no scores."""

FAILED = "failed"
"""Beginning of the reason of a victim with a loss or gradient that is not finite; it has no scores either."""

REFUSED = "refused"
"""Beginning of the reason of a victim whose update, which a real client sent, cannot be attacked; it has no scores."""

SEED_NOT_FOUND = "seed_not_found"
"""Beginning of the reason of a victim whose seed was not among the candidates."""


WITHOUT_ATTACK = (FAILED, REFUSED)
"""Beginnings of the reasons of victims that are not to blame on an attack: tables count and name them apart."""


def is_scored(stop_reason: str) -> bool:
    """Tell whether a victim has a reconstruction, and so scores."""
    return not stop_reason.startswith((NOT_APPLICABLE, *WITHOUT_ATTACK))
