"""Attacks by name, with their own defaults. To add one, add its entry to ``ATTACKS``.

Light to import: every job parses the config, which needs the names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        optimises_masks: Whether it searches for dropout masks.
        assumes_dropout_rate: Whether it depends on the rate that the attacker assumes (``attacker_dropout_rate``).
        needs_a_simulation: Why only a simulated client can be attacked with it; empty where any can.
        defaults: Its own defaults, where they are not the paper's; of
            :class:`~dia.settings.optimisation.SearchSettings` alone: client and model are the same for all attacks.
    """

    builder: str
    optimises_masks: bool = False
    assumes_dropout_rate: bool = False
    needs_a_simulation: str = ""
    defaults: Mapping[str, object] = field(default_factory=dict)


LBFGS_DEFAULTS = {
    "mask_init": "mean",
    "mask_penalty_weight": 0.0,
    "lbfgs_start_iteration": 30,
    "lbfgs_history_size": 20,
    "tv_weight": 1e-6,
    "tv_initial_factor": 1000.0,
    "tv_decay_iterations": 450,
    "loss_tolerance": 1e-6,  # a tenth of the paper's, as the weight of total variation, which the loss includes
}
"""The recipe that docs/stronger-dia.md measures."""

WARM_DEFAULTS = {
    **LBFGS_DEFAULTS,
    "learning_rate": 0.03,  # small: the search begins near its end
    "lbfgs_start_iteration": 0,  # Adam's first steps would leave a start that is right already
    "tv_initial_factor": 1.0,
}
"""Found with images 64 to 79 of CIFAR-10, on ``lenet``; docs/stronger-dia.md reports others."""


ATTACKS = {
    "ig": AttackEntry("dia.attacks.ig:build"),
    "wiig": AttackEntry(
        "dia.attacks.wiig:build",
        needs_a_simulation="it needs the client's true masks, which no server has",
    ),
    "dia": AttackEntry("dia.attacks.dia:build", optimises_masks=True, assumes_dropout_rate=True),
    "dia_lbfgs": AttackEntry(
        "dia.attacks.dia:build", optimises_masks=True, assumes_dropout_rate=True, defaults=LBFGS_DEFAULTS
    ),
    "dia_readout": AttackEntry("dia.attacks.dia_readout:build", optimises_masks=True),
    "dia_warm": AttackEntry("dia.attacks.dia_warm:build", optimises_masks=True, defaults=WARM_DEFAULTS),
    "analytic": AttackEntry("dia.attacks.analytic.attack:build"),
    "seed_search": AttackEntry(
        "dia.attacks.seed_search:build",
        needs_a_simulation="it draws masks as dia's own simulated clients do",
    ),
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
