"""Faults of a config that no single key shows: its parts do not fit each other."""

from typing import TYPE_CHECKING

from dia.jobs.cell import Cell
from dia.models.dropout_sites import site_selector
from dia.models.registry import MODELS
from dia.settings.scenario import Settings
from dia.utils.validation_errors import unknown_name_message

if TYPE_CHECKING:
    from dia.config.config import Config

INEFFECTIVE_UNLESS = {
    "local_batch_size": ("local_epochs", 0),
    "local_learning_rate": ("local_epochs", 0),
    "final_learning_rate": ("learning_rate_schedule", "plateau"),
    "tv_initial_factor": ("tv_weight", 0),
    "tv_decay_iterations": ("tv_initial_factor", 1),
    "lbfgs_history_size": ("lbfgs_start_iteration", None),
}
"""Setting -> another, and the value of that other at which the first does nothing."""


def find_faults(config: "Config") -> list[str]:
    """All faults of a config whose every part is valid, each with its place and what would be right."""
    checks = (
        _undefined_names,
        _names_of_architectures,
        _unknown_sites,
        _too_few_images,
        _ineffective_settings,
        _duplicates,
    )
    return [fault for check in checks for fault in check(config)]


def _undefined_names(config: "Config") -> list[str]:
    """Names in the grids that nothing defines."""
    faults = []
    for index, grid in enumerate(config.grids):
        if grid.scenario not in config.scenarios:
            message = unknown_name_message("scenario", grid.scenario, config.scenarios)
            faults.append(f"grids[{index}].scenario: {message}")
        for name in grid.datasets:
            if name not in config.datasets:
                message = unknown_name_message("dataset", name, config.datasets)
                faults.append(f"grids[{index}].datasets: {message}")
    return faults


def _names_of_architectures(config: "Config") -> list[str]:
    """Own models that take the name of a built-in architecture."""
    return [
        f"models.{name}: {name} is a built-in architecture; choose another name"
        for name in config.models
        if name in MODELS
    ]


def _unknown_sites(config: "Config") -> list[str]:
    """Dropout sites that an architecture does not have."""
    faults = []
    for index, grid in enumerate(config.grids):
        for model in grid.models:
            settings = config.resolved_settings.get((grid.scenario, model), Settings())
            try:
                site_selector(model, settings.dropout_sites)
            except ValueError as error:
                faults.append(f"grids[{index}]: scenario {grid.scenario!r}: {error}")
    return faults


def _too_few_images(config: "Config") -> list[str]:
    """Grids whose victims need more images than their dataset has."""
    faults = []
    for index, grid in enumerate(config.grids):
        for dataset in set(grid.datasets) & set(config.datasets):
            for model in grid.models:
                settings = config.resolved_settings.get((grid.scenario, model))
                images = config.datasets[dataset].images
                if settings is not None and settings.victims * settings.batch_size > images:
                    faults.append(
                        f"grids[{index}]: scenario {grid.scenario!r} takes {settings.victims} victims of "
                        f"{settings.batch_size} image(s) for model {model!r}, more than the {images} of "
                        f"datasets.{dataset}.images: raise that, or lower victims or batch_size"
                    )
    return faults


def _ineffective_settings(config: "Config") -> list[str]:
    """Settings that do nothing because of others: the rows would claim what was not done."""
    faults, defaults = [], Settings()
    for name, model in dict.fromkeys((grid.scenario, m) for grid in config.grids for m in grid.models):
        settings = config.resolved_settings.get((name, model), defaults)
        for key, (needed, value) in INEFFECTIVE_UNLESS.items():
            if getattr(settings, needed) == value and getattr(settings, key) != getattr(defaults, key):
                faults.append(
                    f"scenario {name!r}, model {model!r}: {key} means nothing while {needed} is "
                    f"{'null' if value is None else value}: "
                    f"set {needed}, or leave {key} out"
                )
    return faults


def _duplicates(config: "Config") -> list[str]:
    """Cells that are listed twice, also where only the spelling of the rate differs."""
    faults = []
    seen: dict[tuple[object, ...], tuple[int, Cell]] = {}
    for index, grid in enumerate(config.grids):
        for cell in grid.cells():
            key = (cell.scenario, cell.dataset, cell.model, cell.p, cell.attack, cell.seed)
            if key in seen:
                before, twin = seen[key]
                spelt = "" if twin == cell else f" (as {twin.id})"
                faults.append(f"grids[{index}]: duplicate cell {cell.id}, already in grids[{before}]{spelt}")
            seen.setdefault(key, (index, cell))
    return faults
