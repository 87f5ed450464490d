"""The config that Snakemake has read, as its files say it: Snakemake reads YAML 1.1, and of equal keys the last one."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dia.utils.yaml_file import read_yaml


def as_written(config: Mapping[str, Any], files: Iterable[str | Path]) -> Mapping[str, Any]:
    """Read the files again and take from them the numbers and texts that Snakemake reads as others.

    Args:
        config: The config as Snakemake has it: of its files together, or of a block of them that a workflow gives to
            this one as a module; keys of the command line included.
        files: The files it read, the strongest last.

    Raises:
        ConfigError: A file repeats a key, or holds what two versions of YAML read differently; see
            :func:`dia.utils.yaml_file.read_yaml`.
    """
    written: dict[str, Any] = {}
    for file in files:
        content = read_yaml(file, "config")
        if isinstance(content, Mapping):
            written = _merged(written, content)
    return next(
        (_taken(block, config) for block in (written, *written.values()) if _overlaps(block, config)), config
    )


def _merged(weaker: Mapping[str, Any], stronger: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merged key by key, as Snakemake merges config files."""
    both = {
        key: _merged(weaker[key], stronger[key])
        for key in weaker.keys() & stronger.keys()
        if isinstance(weaker[key], Mapping) and isinstance(stronger[key], Mapping)
    }
    return {**weaker, **stronger, **both}


def _overlaps(block: Any, config: Mapping[str, Any]) -> bool:
    """Tell whether a config was read from a block: no key of the block is missing from it."""
    return isinstance(block, Mapping) and bool(block) and block.keys() <= config.keys()


def _taken(written: Any, read: Any) -> Any:
    """The value that was written, where the value that was read is only another reading of it."""
    if isinstance(written, Mapping) and isinstance(read, Mapping):
        return {key: _taken(written[key], value) if key in written else value for key, value in read.items()}
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        return [_taken(*pair) for pair in zip(written, read, strict=True)]
    same = str(written) == str(read) or (isinstance(written, float) and _number(read) == written)
    return written if same else read


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
