"""The place in a file of one of pydantic's errors."""

import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Block:
    """A block of a file that an error lies in.

    Attributes:
        path: Its keys, spelt as in the file.
        parts: Its keys and indices.
        model: Its model.
        key: The key of the block that is at fault; None for the block itself.
    """

    path: str
    parts: tuple[int | str, ...]
    model: type[BaseModel]
    key: str | None


def locate(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, list[Block]]:
    """Spell pydantic's location as in the file, and list the blocks around it, the innermost last.

    Pydantic inserts the tag of a tagged union (the dataset's source) and marks a bad mapping key with
    ``[key]``; neither stands in the file.
    """
    path = ""
    parts: tuple[int | str, ...] = ()
    blocks: list[Block] = []
    node: Any = _without_annotations(model)
    for part in loc:
        if part == "[key]":
            return path, blocks
        if _is_block(node):
            blocks.append(Block(path, parts, node, str(part)))
            field = node.model_fields.get(str(part))
            node = field.annotation if field else None
        elif _is_union(node) and (member := _union_member(node, part)):
            node = member
            continue
        else:
            if _is_union(node):  # of a value and null
                node = next(member for member in typing.get_args(node) if member is not type(None))
            arguments = typing.get_args(node)
            node = arguments[-1] if typing.get_origin(node) is dict else next(iter(arguments), None)
        node = _without_annotations(node)
        parts += (part,)
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    if _is_block(node):
        blocks.append(Block(path, parts, node, None))
    return path, blocks


def _is_block(node: Any) -> bool:
    return isinstance(node, type) and issubclass(node, BaseModel)


def _without_annotations(node: Any) -> Any:
    """A type without its annotations."""
    return typing.get_args(node)[0] if typing.get_origin(node) is Annotated else node


def _is_union(node: Any) -> bool:
    return typing.get_origin(node) in (typing.Union, types.UnionType)


def _union_member(union: Any, tag: int | str) -> Any:
    """The member of a union tagged by ``source`` that has this tag."""
    for member in typing.get_args(union):
        if _is_block(member):
            source = member.model_fields.get("source")
            if source is not None and tag in typing.get_args(source.annotation):
                return member
    return None
