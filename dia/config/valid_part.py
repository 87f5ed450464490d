"""The part of a faulty config that is valid by itself, for checks of how parts fit each other."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from dia.config.grid import Grid, Scenario

if TYPE_CHECKING:
    from dia.config.config import Config

NAMED = ("datasets", "models", "scenarios")
"""Sections of named blocks."""


def valid_part(cls: "type[Config]", mapping: Any, context: Mapping[str, Any]) -> "Config | None":
    """The config without what is faulty and what refers to it; None where its sections are no sections.

    Faulty blocks leave their names (for None), faulty grids an empty grid, so that names are known and numbers stay.

    Args:
        cls: The model of configs.
        mapping: The parsed file.
        context: What its validators need to know besides.
    """
    if not isinstance(mapping, Mapping) or not isinstance(mapping.get("grids"), list | tuple):
        return None
    if not all(isinstance(mapping.get(section, {}), Mapping) for section in NAMED):
        return None
    parts: dict[str, Any] = {}
    for section in NAMED:
        adapter: TypeAdapter[Any] = TypeAdapter(cls.__annotations__[section])
        blocks = mapping.get(section, {}).items()
        parts[section] = {str(name): _valid(adapter, {name: block}, context, name) for name, block in blocks}
    parts["scenarios"] = parts["scenarios"] or {"default": Scenario()}
    faulty = {section: {name for name, block in parts[section].items() if block is None} for section in NAMED}
    empty = Grid.model_construct(
        scenario=next(iter(parts["scenarios"])),
        datasets=(),
        models=(),
        dropout_rates=(),
        attacks=(),
        seeds=(),
    )
    grids = []
    for written in mapping["grids"]:
        grid = _valid(TypeAdapter(dict[str, Grid]), {"grid": written}, context, "grid")
        if grid is None or grid.scenario in faulty["scenarios"]:
            grids.append(empty)
        else:
            kept = {
                axis: tuple(name for name in getattr(grid, axis) if name not in faulty[axis])
                for axis in ("datasets", "models")
            }
            grids.append(grid.model_copy(update=kept))
    return cls.model_construct(**{**parts, "grids": tuple(grids)})


def _valid(adapter: TypeAdapter[Any], block: Mapping[Any, Any], context: Mapping[str, Any], name: Any) -> Any:
    """The only block of a section; None where it is faulty."""
    try:
        return adapter.validate_python(block, context=dict(context))[name]
    except ValidationError:
        return None
