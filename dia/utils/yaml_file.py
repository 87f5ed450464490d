"""Read YAML as YAML 1.2 does; whatever could be meant in two ways is refused with its line and what to write.

PyYAML reads YAML 1.1: of two equal keys the last one wins, ``010`` is 8, ``no`` is false, ``1:30`` is 90 and ``1e-5``
is text. JSON is YAML, so JSON files are read likewise.
"""

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from dia.errors import ConfigError
from dia.utils.validation_errors import config_error

MOST_LEVELS = 50
"""Nested lists and mappings."""
MOST_VALUES = 1_000_000
"""Values of a file, those behind aliases counted each time."""
LARGEST_INTEGER = 2**63 - 1
"""The range of integers that a column of the results can hold."""

_CORE = "tag:yaml.org,2002:"
_TAGS = {_CORE + name for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}


def read_yaml(path: str | Path, what: str) -> Any:
    """Read a YAML (or JSON) file.

    Args:
        path: The file.
        what: What it is, for errors.

    Raises:
        ConfigError: The file cannot be read, is not YAML, repeats a key, nests too deeply, or has a value that two
            versions of YAML read differently. Every fault is named with its line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the {what} {path}: {error}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, origin: str) -> Any:
    """Read YAML from text; see :func:`read_yaml`.

    Args:
        text: The content.
        origin: What errors name as the place.

    Raises:
        ConfigError: As :func:`read_yaml`.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        faults = _Check(loader).faults_of(node)
        if faults:
            raise config_error(origin, faults)
        return loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{origin} is not YAML: line {line}: character #x{error.character:02x}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{_place(mark)}: " if mark else ""
        context = f" ({error.context} of line {error.context_mark.line + 1})" if error.context_mark else ""
        raise ConfigError(f"{origin} is not YAML: {at}{error.problem or error.context}{context}") from None


def _place(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2, and merge keys."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]
    _level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._level += 1
        if self._level > MOST_LEVELS:
            raise yaml.composer.ComposerError(
                None,
                None,
                f"more than {MOST_LEVELS} lists and mappings inside each other",
                self.peek_event().start_mark,
            )
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


def _bool(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    return node.value.lower() == "true"


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value, 0)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"\.(inf|nan)$", r"\1", node.value.lower()))


for _name, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(_CORE + _name, re.compile(rf"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor(_CORE + "bool", _bool)
_Loader.add_constructor(_CORE + "int", _int)
_Loader.add_constructor(_CORE + "float", _float)


class _Check:
    """Find what is wrong with the nodes of a document, each looked at once."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._older = yaml.SafeLoader("")  # YAML 1.1
        self._faults: list[str] = []
        self._sizes: dict[yaml.Node, tuple[int, int] | None] = {}

    def faults_of(self, document: yaml.Node) -> list[str]:
        """All faults, in the order of the file."""
        values, levels = self._size(document)
        if values > MOST_VALUES:
            return [f"more than {MOST_VALUES:,} values, counting those that aliases (*name) repeat"]
        if levels > MOST_LEVELS:
            return [f"more than {MOST_LEVELS} lists and mappings inside each other, through aliases (*name)"]
        return self._faults

    def _fault(self, node: yaml.Node, message: str) -> None:
        self._faults.append(f"{_place(node.start_mark)}: {message}")

    def _size(self, node: yaml.Node) -> tuple[int, int]:
        """Values and levels of a node, what is behind aliases counted each time."""
        if node in self._sizes:
            known = self._sizes[node]
            if known is None:
                self._fault(node, "an alias (*name) repeats the block that it stands in")
            return known or (0, 0)
        self._sizes[node] = None
        plain = "seq" if isinstance(node, yaml.SequenceNode) else _kind(node.tag)
        plain = "map" if isinstance(node, yaml.MappingNode) else plain
        if node.tag not in _TAGS or _kind(node.tag) != plain:
            self._fault(node, f"the tag {node.tag.replace(_CORE, '!!')} is not allowed: write a plain value")
        children: list[yaml.Node] = []
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node)
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            children = [part for pair in node.value for part in pair]
        sizes = [self._size(child) for child in children]
        size = 1 + sum(values for values, _ in sizes), 1 + max((levels for _, levels in sizes), default=0)
        self._sizes[node] = size
        return size

    def _check_keys(self, mapping: yaml.MappingNode) -> None:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in mapping.value:
            if not isinstance(key, yaml.ScalarNode):
                self._fault(key, "a key must be text, not a list or a mapping")
                continue
            name = (key.tag, key.value)
            if name in lines:
                merge = key.tag == _CORE + "merge"
                remedy = "name both in one list, <<: [*a, *b]" if merge else "keep one of them"
                self._fault(key, f"duplicate key {key.value!r}, already in line {lines[name]}: {remedy}")
            lines.setdefault(name, key.start_mark.line + 1)

    def _check_scalar(self, node: yaml.ScalarNode) -> None:
        text, kind = node.value, _kind(node.tag)
        implied = "str" if node.style else _kind(self._loader.resolve(yaml.ScalarNode, text, (True, False)))
        if node.tag in _TAGS and kind not in (implied, "str"):
            self._fault(node, f"the tag !!{kind} is not allowed: write the value without tag and quotes")
        if node.style or kind != implied:
            return
        older = _kind(self._older.resolve(yaml.ScalarNode, text, (True, False)))
        if kind == "int" and (len(text) > 20 or abs(int(text, 0)) > LARGEST_INTEGER):
            self._fault(node, f"{text:.40} is beyond 64 bits; the largest whole number is {LARGEST_INTEGER}")
        elif kind == "str" and older == "bool":
            remedy = f'write true or false, or "{text}" in quotes'
            self._fault(node, f"{text} is a truth value in YAML 1.1 and text in YAML 1.2: {remedy}")
        elif kind == "str" and (older in ("int", "float") or _ODD_NUMBER.fullmatch(text)):
            remedy = f'write a plain decimal number, or "{text}" in quotes'
            self._fault(node, f"{text} is another number, or text, in YAML 1.1 than in YAML 1.2: {remedy}")


def _kind(tag: str) -> str:
    return tag.removeprefix(_CORE)


_ODD_NUMBER = re.compile(r"[-+]?(0[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?|0o[0-7]+|0b[01]+|0x[0-9a-fA-F]+)")
"""Spellings that some readers of YAML take for numbers."""
