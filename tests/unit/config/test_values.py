"""Values are taken as they are, or refused: truth values for numbers, long names."""

from typing import Any

import pytest
from helpers.configs import changed

from dia.config.config import Config
from dia.errors import ConfigError
from dia.settings.scenario import Settings

FLOATS = [name for name, field in Settings.model_fields.items() if field.annotation in (float, float | None)]


def refusal(mapping: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Config.load(mapping)
    return str(caught.value)


@pytest.mark.parametrize("name", FLOATS)
def test_a_truth_value_is_no_number(name: str) -> None:
    message = refusal(changed("scenarios", "default", name, value=True))
    assert f"scenarios.default.{name} = true: must be a number" in message


def test_a_truth_value_is_no_mean_and_no_bound() -> None:
    definition = {"source": "bundled-mnist", "images": 16, "mean": [True], "std": [1]}
    message = refusal(changed("datasets", "mnist", value=definition))
    assert "datasets.mnist.mean[0] = true: must be a number" in message


@pytest.mark.parametrize(
    "keys", [("name",), ("datasets", "x" * 101), ("scenarios", "x" * 101), ("models", "x" * 101)]
)
def test_long_names_are_refused(keys: tuple[str, ...]) -> None:
    value: Any = {keys[1]: {}} if len(keys) > 1 else "x" * 300
    mapping = changed(keys[0], value=value)
    assert "a name has at most 100 characters, because files are named after it" in refusal(mapping)


def test_a_long_rate_is_refused() -> None:
    message = refusal(changed("grids", 0, "dropout_rates", value=["0." + "1" * 120]))
    assert "a dropout rate has at most 100 characters, because files are named after it" in message


def test_numbers_keep_their_text() -> None:
    """What the canonical text of a job has did not change with the strict types."""
    settings = Settings(learning_rate=1)
    assert '"learning_rate":1.0' in settings.model_dump_json()
