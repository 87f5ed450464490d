"""``dia schema``: the config's JSON schema, for editors."""

import argparse
from typing import Any

import yaml

from dia.config.config import Config


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("schema", help="print the JSON schema of the config file, as YAML")
    parser.set_defaults(run=run)


def schema() -> str:
    """The JSON schema of the config file as YAML, every key described."""
    body = yaml.safe_dump(Config.model_json_schema(), sort_keys=False, allow_unicode=True, width=110)
    return f"# Made from dia/config/config.py by `make schema`: do not edit.\n{body}"


def run(args: argparse.Namespace) -> int:
    """Print the schema."""
    print(schema(), end="")
    return 0
