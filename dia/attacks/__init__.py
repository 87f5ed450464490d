"""Attacks by name."""

NAMES = ("ig", "wiig", "dia", "dia_readout", "analytic", "seed_search")

NOT_APPLICABLE = "not_applicable"
"""Start of the stop reason of a victim that an attack cannot be used on; tables leave its scores out."""
