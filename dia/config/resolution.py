"""The settings of a cell, from the weakest source to the strongest.

1. The paper's defaults, which are those of :class:`~dia.settings.scenario.Settings`.
2. The defaults of the cell's attack, where it has its own (:data:`dia.attacks.registry.ATTACKS`).
3. Everything that the scenario writes, whatever the value.
4. The scenario's exceptions for the cell's model (``per_model``).
5. The scenario's exceptions for the cell's attack (``per_attack``).
"""

from dia.attacks.registry import ATTACKS
from dia.config.grid import Scenario
from dia.settings.scenario import Settings

INEFFECTIVE_UNLESS = {
    "local_batch_size": ("local_epochs", 0),
    "local_learning_rate": ("local_epochs", 0),
    "final_learning_rate": ("learning_rate_schedule", "plateau"),
    "tv_initial_factor": ("tv_weight", 0),
    "tv_decay_iterations": ("tv_initial_factor", 1),
    "lbfgs_history_size": ("lbfgs_start_iteration", None),
}
"""Setting -> another, and the value of that other at which the first does nothing."""


def resolve_settings(scenario: Scenario, model: str, attack: str) -> Settings:
    """The settings of the cells of a scenario, a model and an attack."""
    written = scenario.model_dump(exclude={"per_model", "per_attack"}, exclude_unset=True)
    for exceptions in (scenario.per_model.get(model), scenario.per_attack.get(attack)):
        if exceptions is not None:
            written |= exceptions.model_dump(exclude_unset=True)
    paper = Settings()
    settings = Settings(**{**ATTACKS[attack].defaults, **written})
    # Where the scenario makes a default of the attack ineffective, rows do not show it as if it had been used.
    for key, (needed, value) in INEFFECTIVE_UNLESS.items():
        if key not in written and getattr(settings, needed) == value:
            settings = settings.model_copy(update={key: getattr(paper, key)})
    return settings


def ineffective_settings(settings: Settings) -> list[str]:
    """Settings that differ from the paper's and that others make ineffective, each with the reason and what to do."""
    paper = Settings()
    return [
        f"{key} means nothing while {needed} is {'null' if value is None else value}: "
        f"set {needed}, or leave {key} out"
        for key, (needed, value) in INEFFECTIVE_UNLESS.items()
        if getattr(settings, needed) == value and getattr(settings, key) != getattr(paper, key)
    ]
