"""Keys beside those of a config that say how a run treats it; on Snakemake's command line ``--config KEY=true``."""

from collections.abc import Mapping
from typing import Any

from dia.errors import ConfigError


def take_switch(mapping: Mapping[str, Any], name: str, origin: str) -> tuple[bool, dict[str, Any]]:
    """Tell whether a switch is on, and the mapping without it.

    Args:
        mapping: The parsed YAML, perhaps with the switch.
        name: The switch.
        origin: What errors name as the place.

    Raises:
        ConfigError: It is neither true nor false.
    """
    value = str(mapping.get(name, False)).lower()  # on Snakemake's command line, true is a text
    if value not in ("true", "false"):
        raise ConfigError(f"{origin}: {name} = {mapping[name]!r}: must be true or false")
    return value == "true", {key: mapping[key] for key in mapping if key != name}
