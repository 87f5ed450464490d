"""What Snakemake reads as YAML 1.1 is taken from the files as YAML 1.2."""

from pathlib import Path

import pytest
import yaml

from dia.config.as_written import as_written
from dia.errors import ConfigError

TEXT = "name: a\nmodels: {m: {arguments: {eps: 1e-5, day: 2024-01-02, flag: true, none: ~}}}\nseeds: [1, 1e3]"
VALUE = {"eps": 1e-5, "day": "2024-01-02", "flag": True, "none": None}


def test_numbers_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(TEXT)
    read = yaml.safe_load(TEXT)
    assert read["models"]["m"]["arguments"]["eps"] == "1e-5"
    written = as_written(read | {"reduced": True, "name": "other"}, [tmp_path / "c.yaml"])
    assert written["models"]["m"]["arguments"] == VALUE
    assert written["seeds"] == [1, 1000.0]
    assert (written["reduced"], written["name"]) == (True, "other"), "what the command line says stands"


def test_the_block_of_a_module_and_several_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("other: 1\ndia: {name: b, seeds: [1e2], x: 1e2}")
    (tmp_path / "b.yaml").write_text("dia: {name: c, seeds: [1e3]}")
    given = {"name": "c", "seeds": ["1e3"], "x": "1e2"}
    written = as_written(given, [tmp_path / "a.yaml", tmp_path / "b.yaml"])
    assert written == {"name": "c", "seeds": [1000.0], "x": 100.0}


def test_a_config_that_comes_from_elsewhere_stays(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("other: 1e2")
    assert as_written({"name": "1e2"}, [tmp_path / "a.yaml"]) == {"name": "1e2"}
    assert as_written({"name": "1e2"}, []) == {"name": "1e2"}


def test_duplicate_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("grids: [1]\nname: a\ngrids: [2]")
    with pytest.raises(ConfigError, match="line 3, column 1: duplicate key 'grids', already in line 1"):
        as_written({"name": "a", "grids": [2]}, [tmp_path / "a.yaml"])
