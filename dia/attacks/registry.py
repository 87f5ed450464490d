"""Attacks by name."""

from collections.abc import Callable
from typing import Protocol

from dia.attacks import dia, dia_readout, ig, seed_search, wiig
from dia.attacks.analytic import attack as analytic
from dia.attacks.outcome import Outcome
from dia.errors import AttackError


class Prepared(Protocol):
    """An attack on all victims of a problem, ready to run.

    Attributes:
        seeks_masks: Whether its outcome has masks.
    """

    seeks_masks: bool

    def run(self) -> Outcome:
        """Attack every victim."""


PREPARE: dict[str, Callable[..., Prepared]] = {
    "ig": ig.prepare,
    "wiig": wiig.prepare,
    "dia": dia.prepare,
    "dia_readout": dia_readout.prepare,
    "analytic": analytic.prepare,
    "seed_search": seed_search.prepare,
}


def prepare(name: str) -> Callable[..., Prepared]:
    """The attack called ``name``.

    Raises:
        AttackError: Unknown name.
    """
    if name not in PREPARE:
        raise AttackError(f"unknown attack '{name}'; known: {', '.join(PREPARE)}")
    return PREPARE[name]
