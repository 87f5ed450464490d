"""Faults of a config that no single key shows: its parts do not fit each other."""

from itertools import product
from typing import TYPE_CHECKING

from dia.attacks.registry import ATTACKS
from dia.config.grid import Grid
from dia.config.received import received_faults
from dia.config.resolution import ineffective_settings
from dia.datasets.specs import ImageDataset
from dia.jobs.cell import Cell
from dia.models.dropout_sites import site_selector
from dia.models.registry import MODELS
from dia.settings.scenario import Settings
from dia.utils.validation_errors import unknown_name_message

if TYPE_CHECKING:
    from dia.config.config import Config


def find_faults(config: "Config") -> list[str]:
    """All faults of a config whose every part is valid, each with its place and what would be right."""
    checks = (
        _undefined_names,
        _names_of_architectures,
        _unknown_sites,
        _too_few_images,
        _ineffective_settings,
        _duplicates,
        received_faults,
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
            try:
                own = config.models.get(model)
                architecture = model if own is None else own.architecture
                site_selector(architecture, _common_settings(config, grid, model).dropout_sites)
            except ValueError as error:
                faults.append(f"grids[{index}]: scenario {grid.scenario!r}: {error}")
    return faults


def _too_few_images(config: "Config") -> list[str]:
    """Grids whose victims need more images than their dataset has."""
    faults = []
    for index, grid in enumerate(config.grids):
        for dataset in set(grid.datasets) & set(config.datasets):
            for model in grid.models:
                settings, spec = _common_settings(config, grid, model), config.datasets[dataset]
                if not isinstance(spec, ImageDataset):
                    continue
                images = spec.images
                defined = grid.scenario in config.scenarios
                if defined and settings.victims * settings.batch_size > images:
                    faults.append(
                        f"grids[{index}]: scenario {grid.scenario!r} takes {settings.victims} victims of "
                        f"{settings.batch_size} image(s) for model {model!r}, more than the {images} of "
                        f"datasets.{dataset}.images: raise that, or lower victims or batch_size"
                    )
    return faults


def _common_settings(config: "Config", grid: Grid, model: str) -> Settings:
    """The settings that all attacks of a grid share, since none has defaults of its own for them.

    Those of an unknown scenario, which is another fault, are the paper's.
    """
    if grid.scenario not in config.scenarios:
        return Settings()
    return config.settings_of(grid.scenario, model, grid.attacks[0])


def _ineffective_settings(config: "Config") -> list[str]:
    """Settings that do nothing because of others: the rows would claim what was not done."""
    faults = []
    for grid in config.grids:
        for model, attack in product(grid.models, grid.attacks):
            if grid.scenario in config.scenarios:
                where = f"scenario {grid.scenario!r}, model {model!r}"
                where += f", attack {attack!r}" if ATTACKS[attack].defaults else ""
                found = ineffective_settings(config.settings_of(grid.scenario, model, attack))
                faults += [f"{where}: {fault}" for fault in found]
    return list(dict.fromkeys(faults))


def _duplicates(config: "Config") -> list[str]:
    """Cells that are listed twice, also where only the spelling of the rate differs, or a rate without effect."""
    faults = []
    seen: dict[tuple[object, ...], tuple[int, Cell]] = {}
    for index, grid in enumerate(config.grids):
        for cell in grid.cells():
            own = config.models.get(cell.model)
            rate = None if own is not None and own.ignores_rate else cell.p
            key = (cell.scenario, cell.dataset, cell.model, rate, cell.attack, cell.seed)
            if key in seen:
                before, twin = seen[key]
                spelt = "" if twin == cell else f" (as {twin.id})"
                if rate is None and twin != cell:
                    spelt += (
                        f": models.{cell.model} has dropout_rates: own and no $dropout_rate, so list one rate"
                    )
                faults.append(f"grids[{index}]: duplicate cell {cell.id}, already in grids[{before}]{spelt}")
            seen.setdefault(key, (index, cell))
    return faults
