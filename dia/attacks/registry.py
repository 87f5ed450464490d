"""Attacks by name. To add one, add its line to ``ATTACKS``.

Light to import: every job parses the config, which needs the names.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dia.errors import AttackError
from dia.utils.lazy_import import load_object

if TYPE_CHECKING:
    from dia.attacks.attack import AttackBuilder


@dataclass(frozen=True, slots=True)
class AttackEntry:
    """An attack, as far as it is known without importing it.

    Attributes:
        builder: ``module:function`` of its :class:`~dia.attacks.attack.AttackBuilder`.
        assumes_dropout_rate: Whether it depends on the rate that the attacker assumes (``attacker_dropout_rate``).
    """

    builder: str
    assumes_dropout_rate: bool = False


ATTACKS = {
    "ig": AttackEntry("dia.attacks.ig:build"),
    "wiig": AttackEntry("dia.attacks.wiig:build"),
    "dia": AttackEntry("dia.attacks.dia:build", assumes_dropout_rate=True),
    "dia_readout": AttackEntry("dia.attacks.dia_readout:build"),
    "analytic": AttackEntry("dia.attacks.analytic.attack:build"),
    "seed_search": AttackEntry("dia.attacks.seed_search:build"),
}


def get_attack(name: str) -> "AttackBuilder":
    """The function that builds the attack called ``name``.

    Raises:
        AttackError: Unknown name.
    """
    if name not in ATTACKS:
        raise AttackError(f"unknown attack '{name}'; known: {', '.join(ATTACKS)}")
    builder: AttackBuilder = load_object(ATTACKS[name].builder)
    return builder
