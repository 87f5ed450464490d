"""A small config, to be changed by tests."""

import copy
from typing import Any

import yaml

BASE: dict[str, Any] = yaml.safe_load("""
name: small
datasets:
  mnist: {source: bundled-mnist, images: 16}
scenarios:
  default:
    victims: 16
    max_iterations: 300
    per_model:
      vit: {victims: 4, learning_rate: 0.05}
grids:
  - datasets: [mnist]
    models: [mlp, vit]
    dropout_rates: ["0", "0.25"]
    attacks: [ig, wiig, dia]
    seeds: [0, 1]
""")


def changed(*keys: Any, value: Any) -> dict[str, Any]:
    """BASE with one value replaced or added."""
    mapping = copy.deepcopy(BASE)
    node: Any = mapping
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    return mapping
