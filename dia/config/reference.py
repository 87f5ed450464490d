"""Reference tables of keys, made from a JSON schema, so that they cannot say anything else."""

import json
from typing import Any

ORDER = ("Config", "Grid", "Scenario", "Execution", "Tracking", "CustomModel")
"""Blocks in the order in which a config has them; the datasets' follow."""

HEAD = """# Reference of the config

Made from `dia/config/config.py` by `make schema`: do not edit. [`config/README.md`](../config/README.md) explains how
the parts belong together.
"""


def config_doc(schema: dict[str, Any]) -> str:
    """The reference as Markdown.

    Args:
        schema: The JSON schema of the config.
    """
    blocks = {"Config": schema, **schema["$defs"]}
    names = [*ORDER, *(n for n in blocks if n not in ORDER and "source" in blocks[n].get("properties", {}))]
    parts = [HEAD]
    for name in (n for n in names if n in blocks):
        block = blocks[name]
        source = block["properties"].get("source", {}).get("const")
        title = f"Dataset of source `{source}`" if source else name
        parts.append(f"## {title}\n\n{block.get('description', '')}\n")
        parts.append(key_table(block))
    return "\n".join(parts)


def key_table(block: dict[str, Any]) -> str:
    """One line per key of a block of a JSON schema: what it takes, its default, its meaning."""
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    required = block.get("required", [])
    for key, value in block["properties"].items():
        default = "**required**" if key in required else _default(value)
        lines.append(f"| `{key}` | {_kind(value)} | {default} | {one_line(value.get('description', ''))} |")
    return "\n".join(lines) + "\n"


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if isinstance(default, dict | list) and default:
        return "see there" if isinstance(default, dict) else one_line(f"`[{', '.join(map(str, default))}]`")
    return f"`{default}`" if isinstance(default, str) and default else f"`{json.dumps(default)}`"


def _kind(value: dict[str, Any]) -> str:
    """The values that a key takes, in words."""
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_kind(option) for option in value["anyOf"]))
    if "enum" in value:
        return ", ".join(f"`{option}`" for option in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if "$ref" in value or "oneOf" in value or "patternProperties" in value:
        return "block" if "$ref" in value else "blocks by name"
    kind = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}
    kind |= {"array": "list", "object": "mapping", "null": "null"}
    return kind.get(value.get("type", ""), "any") + _range(value)


def _range(value: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[name]:g}" for name, sign in signs.items() if name in value]
    return f" {', '.join(bounds)}" if bounds else ""


def one_line(text: str) -> str:
    """Text for one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
