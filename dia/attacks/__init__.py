"""Attacks, by the names of :mod:`dia.attacks.registry`."""
