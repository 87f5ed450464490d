"""Attacks by name."""

NAMES = ("ig", "wiig", "dia", "dia_readout", "analytic", "seed")
