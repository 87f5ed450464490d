"""Check progress that was read from a file: it must have the form that the attack itself would have given it."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor

from dia.attacks.optimisation.state import SearchProgress, SearchState
from dia.settings.scenario import Settings

InitialState = Callable[[int, Tensor], SearchState]
"""The state of a start (its number) of some victims ((K,) numbers) before the first iteration."""


def check_progress(
    progress: SearchProgress, initial_state: InitialState, settings: Settings, victims: int
) -> None:
    """Raise unless an attack could have made this progress, as far as its form tells.

    Args:
        progress: What was read.
        initial_state: Builds states of the right form.
        settings: The cell's settings.
        victims: Number of victims.

    Raises:
        ValueError: A tensor of another shape or type, a missing or doubled victim, a number out of range; says which.
    """
    for size in (progress.chunk_size, progress.initial_chunk_size):
        if type(size) is not int or size < 1:
            raise ValueError(f"chunk size is {size!r}, which is no whole number of at least 1")
    if not progress.active:
        raise ValueError("no victim is under attack")
    parts = [(restart, numbers) for restart, numbers in progress.pending]
    parts += [(state.restart, state.victims) for state in [*progress.active, *progress.finished]]
    found = sorted((restart, number) for restart, numbers in parts for number in numbers.tolist())
    if found != [(restart, number) for restart in range(settings.restarts) for number in range(victims)]:
        raise ValueError(f"its starts are not those of {victims} victims, each {settings.restarts} times")
    for state in progress.active:
        _check_state(state, initial_state(state.restart, state.victims), settings, "active")
    for state in progress.finished:
        wanted = initial_state(state.restart, state.victims).without_optimiser_state()
        _check_state(state, wanted, settings, "finished")


def _check_state(state: SearchState, wanted: SearchState, settings: Settings, where: str) -> None:
    if type(state.iteration) is not int or not 0 <= state.iteration <= settings.max_iterations:
        raise ValueError(f"{where}.iteration is {state.iteration!r}, of {settings.max_iterations} at most")
    _check_form(state, replace(wanted, iteration=state.iteration), where)


def _check_form(value: Any, wanted: Any, where: str) -> None:
    """Raise unless ``value`` has the types, lengths, shapes and plain values of ``wanted``."""
    if isinstance(wanted, Tensor) and isinstance(value, Tensor):
        if (value.dtype, value.shape) != (wanted.dtype, wanted.shape):
            raise ValueError(f"{where} is {_form(value)}, expected {_form(wanted)}")
    elif isinstance(wanted, list) and isinstance(value, list):
        if len(value) != len(wanted):
            raise ValueError(f"{where} has {len(value)} entries, expected {len(wanted)}")
        for number, (item, like) in enumerate(zip(value, wanted, strict=True)):
            _check_form(item, like, f"{where}.{number}")
    elif is_dataclass(wanted) and type(value) is type(wanted):
        for field in fields(wanted):
            _check_form(getattr(value, field.name), getattr(wanted, field.name), f"{where}.{field.name}")
    elif type(value) is not type(wanted) or value != wanted:
        raise ValueError(f"{where} is {value!r:.60}, expected {wanted!r:.60}")


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
