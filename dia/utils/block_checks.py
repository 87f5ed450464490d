"""Checks of a block's keys against each other, also where some keys are faulty: pydantic then skips them all."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def failed_checks(block: type[BaseModel], given: Mapping[str, Any], faulty: set[str]) -> list[str]:
    """The faults that the model validators of a block find about its valid keys.

    A check that needs a faulty key says nothing.

    Args:
        block: The model of the block.
        given: The block as the file has it.
        faulty: Its keys that are missing or have a value that is not allowed.
    """
    validators = block.__pydantic_decorators__.model_validators
    known = {key: value for key, value in given.items() if key in block.model_fields and key not in faulty}
    messages = []
    for name, validator in validators.items():
        if validator.info.mode == "before":
            known = getattr(block, name)(known)
    partial = block.model_construct(**known)
    for key in faulty:
        partial.__dict__.pop(key, None)  # and not its default, of which nothing would be true
    for name, validator in validators.items():
        if validator.info.mode == "after":
            try:
                getattr(partial, name)()
            except ValueError as error:
                messages.append(str(error))
            except (AttributeError, TypeError):
                pass  # it looks at a faulty key, or into a block that is not valid itself
    return messages
