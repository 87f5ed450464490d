"""Validation faults in the words of the config file: key path, value, and what would be allowed."""

import difflib
import functools
import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dia.errors import ConfigError
from dia.utils.block_checks import failed_checks
from dia.utils.fault_locations import locate
from dia.utils.secrets import hide_passwords

Model = TypeVar("Model", bound=BaseModel)

_MOST_FAULTS = 20


def config_error(origin: str, faults: Sequence[str]) -> ConfigError:
    """One error for all faults of a config, at most 20 of them spelt out."""
    lines = [f"{origin}: {len(faults)} fault{'s' if len(faults) > 1 else ''}", *faults[:_MOST_FAULTS]]
    if len(faults) > _MOST_FAULTS:
        lines.append(f"... and {len(faults) - _MOST_FAULTS} more")
    return ConfigError("\n  ".join(lines))


def unknown_name_message(kind: str, value: str, names: Iterable[str]) -> str:
    """Say that ``value`` is none of ``names``, which one was probably meant, and list them all."""
    names = list(names)
    close = difflib.get_close_matches(value, names, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {kind} {value!r}; {meant}allowed: {', '.join(names) or 'none'}"


def one_of(kind: str, names: Iterable[str]) -> Callable[[str], str]:
    """A validator that accepts only ``names``."""
    allowed = tuple(names)

    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError(unknown_name_message(kind, value, allowed))
        return value

    return check


def validate_model(
    model: type[Model], data: object, origin: str, context: Mapping[str, Any] | None = None
) -> Model:
    """Validate ``data`` as ``model``.

    Args:
        model: The closed model of the whole file.
        data: The parsed file.
        origin: What the error names as the place.
        context: What the model's validators need to know besides.

    Raises:
        ConfigError: All faults, each with its key path, the value and what is allowed.
    """
    valid, faults = validated(model, data, context)
    if valid is None:
        raise config_error(origin, faults)
    return valid


def validated(
    model: type[Model], data: object, context: Mapping[str, Any] | None = None
) -> tuple[Model | None, list[str]]:
    """Validate ``data`` as :func:`validate_model` does: the valid model, or None and all faults."""
    try:
        return model.model_validate(data, context=dict(context or {})), []
    except ValidationError as error:
        details = [detail for detail in error.errors(include_url=False) if not _is_consequence(detail)]
    faults = [_format_fault(model, detail) for detail in details]
    return None, list(dict.fromkeys(faults + _faults_between_keys(model, data, details)))


def validate_json(model: type[Model], text: str, origin: str) -> Model:
    """Validate a JSON text as ``model``.

    Args:
        model: The closed model.
        text: The text.
        origin: What the error names as the place.

    Raises:
        ConfigError: Not JSON, or not valid: all faults, as :func:`validate_model` lists them.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{origin} is not JSON: {error}") from None
    return validate_model(model, data, origin)


def _faults_between_keys(model: type[BaseModel], data: object, details: list[ErrorDetails]) -> list[str]:
    """Faults of keys that do not fit each other, in blocks that have other faults."""
    found = [block for detail in details for block in locate(model, detail["loc"])[1]]
    faulty: dict[str, set[str]] = {block.path: set() for block in found}
    for block in found:
        if block.key is not None:
            faulty[block.path].add(block.key)
    faults = []
    for block in {block.path: block for block in found}.values():
        given = _value_at(data, block.parts)
        if isinstance(given, Mapping):
            messages = failed_checks(block.model, given, faulty[block.path])
            faults += [f"{block.path or 'top level'}: {message}" for message in messages]
    return faults


def _value_at(data: Any, parts: tuple[int | str, ...]) -> Any:
    """The value of a place in a file; None where there is none."""
    try:
        return functools.reduce(operator.getitem, parts, data)
    except (LookupError, TypeError):
        return None


def _is_consequence(detail: ErrorDetails) -> bool:
    """Tell whether a fault only follows from others: a list left empty by its bad items."""
    return detail["type"] == "too_short" and len(detail["input"]) > 0


_MESSAGES = {
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "tuple_type": "must be a list, in square brackets or with one dash a line",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
}


def _format_fault(model: type[BaseModel], detail: ErrorDetails) -> str:
    """One line for one of pydantic's errors."""
    path, blocks = locate(model, detail["loc"])
    fields = blocks[-1].model.model_fields if blocks else {}
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        where, _, key = path.rpartition(".")
        return f"{where or 'top level'}: {unknown_name_message('key', key, fields)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tags = [tag.strip(" '") for tag in context.get("expected_tags", "").split(",")]
        key = context["discriminator"].strip("'")
        return f"{path}.{key}: " + (
            unknown_name_message(key, context["tag"], tags) if "tag" in context else "missing"
        )
    field = fields.get(str(detail["loc"][-1])) if detail["loc"] else None
    meaning = f" ({field.description})" if field and field.description else ""
    if kind == "missing":
        return f"{path}: missing{meaning}"
    if kind == "too_short":
        return f"{path}: empty; give at least one value"
    if kind in _MESSAGES:
        return f"{path or 'top level'} = {_yaml_repr(value)}: {_MESSAGES[kind].format(**context)}{meaning}"
    message = detail["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(value, dict) else f" = {_yaml_repr(value)}"
    return f"{path or 'top level'}{shown}: {message}"


def _yaml_repr(value: object) -> str:
    """A value as in the file, short."""
    text = (
        {None: "null", True: "true", False: "false"}.get(value)
        if isinstance(value, bool | None)
        else hide_passwords(repr(value))  # before a cut hides what makes it an address
    )
    return str(text) if len(str(text)) <= 80 else f"{str(text)[:77]}..."
