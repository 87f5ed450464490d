"""Attacks by name."""

NAMES = ("ig", "wiig", "dia", "analytic")
