"""Attacks by name."""

from collections.abc import Callable

from dia.attacks import dia, ig, wiig
from dia.attacks.iterative import Search
from dia.errors import AttackError

PREPARE: dict[str, Callable[..., Search]] = {"ig": ig.prepare, "wiig": wiig.prepare, "dia": dia.prepare}


def prepare(name: str) -> Callable[..., Search]:
    """The attack called ``name``.

    Raises:
        AttackError: Unknown name.
    """
    if name not in PREPARE:
        raise AttackError(f"unknown attack '{name}'; known: {', '.join(PREPARE)}")
    return PREPARE[name]
