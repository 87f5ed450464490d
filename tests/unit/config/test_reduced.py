"""Configs at a reduced size: what stays, what shrinks, and what is refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from dia.config import reduced as reduction
from dia.config.config import Config
from dia.config.reduced import Reduction, reduced
from dia.errors import ConfigError

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "config" / "reduced.yaml"

FULL: dict[str, Any] = yaml.safe_load("""
name: study
datasets:
  mnist: {source: torchvision-mnist, root: data, download: true}
  own: {source: bundled-photos, size: 64, images: 100}
scenarios:
  small: {victims: 1, batch_size: 4, tv_weight: 0.1}
  large: {batch_size: 64, max_iterations: 2, per_model: {vit: {learning_rate: 0.2}}}
grids:
  - {scenario: small, datasets: [mnist], models: [mlp, vit], dropout_rates: ["0.25", "0.50"],
     attacks: [ig, dia], seeds: [0, 1, 2]}
  - {scenario: large, datasets: [mnist, own], models: [vit], dropout_rates: ["0.1", "0.3"],
     attacks: [dia], seeds: [7, 8]}
""")
FULL["scenarios"]["large"]["victims"] = 1
RULES = Reduction.model_validate(
    yaml.safe_load("""
datasets: {torchvision-mnist: {source: bundled-mnist}}
images: 10
axes: {dropout_rates: ["0", "0.5"], seeds: [0]}
settings: {victims: 2, max_iterations: 20}
per_model: {vit: {max_iterations: 3}}
""")
)


def test_scenarios_models_and_attacks_stay_and_axes_are_thinned() -> None:
    config = reduced(Config.load(FULL), RULES)
    assert config.name == "study-reduced"
    assert [cell.id for cell in config.cells] == [
        "small/mnist/mlp/p0.50/ig/seed0",
        "small/mnist/mlp/p0.50/dia/seed0",
        "small/mnist/vit/p0.50/ig/seed0",
        "small/mnist/vit/p0.50/dia/seed0",
        "large/mnist/vit/p0.1/dia/seed7",
        "large/own/vit/p0.1/dia/seed7",
    ]


def test_bounds_lower_settings_and_never_raise_them() -> None:
    full, small = Config.load(FULL), reduced(Config.load(FULL), RULES)
    before, after = full.settings_of("small", "mlp", "dia"), small.settings_of("small", "mlp", "dia")
    assert after == before.model_copy(update={"max_iterations": 20})
    assert small.settings_of("small", "vit", "dia").max_iterations == 3
    before, after = full.settings_of("large", "vit", "dia"), small.settings_of("large", "vit", "dia")
    assert after == before
    assert (after.max_iterations, after.learning_rate, after.batch_size) == (2, 0.2, 64)


def test_stand_ins_replace_datasets_whole_and_hold_what_the_victims_need() -> None:
    config = reduced(Config.load(FULL), RULES)
    assert config.dataset("mnist").model_dump(exclude_unset=True, exclude_none=True) == {
        "source": "bundled-mnist",
        "images": 64,
    }
    own = config.dataset("own")
    assert (own.source, own.images) == ("bundled-photos", 64)


def test_the_switch_stands_beside_the_keys_of_a_config() -> None:
    assert reduction.load(FULL, "test", SHIPPED).name == "study"
    assert reduction.load(FULL | {"reduced": False}, "test", SHIPPED) == Config.load(FULL)
    small = reduction.load(FULL | {"reduced": True}, "test", SHIPPED)
    assert small == reduced(Config.load(FULL), Reduction.from_file(SHIPPED))
    assert reduction.load(FULL | {"reduced": "True"}, "test", SHIPPED) == small  # as Snakemake passes it
    assert small.dataset("mnist").source == "bundled-mnist"
    with pytest.raises(ConfigError, match="test: reduced = 'maybe': must be true or false"):
        reduction.load(FULL | {"reduced": "maybe"}, "test", SHIPPED)


def test_faults_of_the_full_config_are_reported_in_its_own_words() -> None:
    wrong = copy.deepcopy(FULL)
    wrong["scenarios"]["small"]["victim"] = 3
    with pytest.raises(ConfigError, match=r"scenarios\.small: unknown key 'victim'; did you mean 'victims'"):
        reduction.load(wrong | {"reduced": True}, "test", SHIPPED)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("settings", {"victim": 1}, "unknown numeric setting 'victim'; did you mean 'victims'"),
        ("per_model", {"vit": {"precision": 1}}, "vit: unknown numeric setting 'precision'"),
        ("axes", {"seeds": [0]}, "axes.dropout_rates: missing"),
        ("image", 3, "unknown key 'image'; did you mean 'images'"),
    ],
)
def test_a_bad_reduction_is_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    mapping = yaml.safe_load(SHIPPED.read_text()) | {key: value}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(mapping))
    with pytest.raises(ConfigError, match=message):
        Reduction.from_file(tmp_path / "r.yaml")


def test_a_missing_reduction_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the reduction .*absent\.yaml"):
        Reduction.from_file(tmp_path / "absent.yaml")
