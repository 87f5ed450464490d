"""Snakemake runs in a temporary folder, as a user would start them."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.workplace import ROOT, Workplace


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    """A fresh, empty workplace."""
    return Workplace(tmp_path)


@pytest.fixture
def test_config() -> dict[str, Any]:
    """config/test.yaml, to be changed."""
    mapping: dict[str, Any] = yaml.safe_load((ROOT / "config" / "test.yaml").read_text())
    return mapping
