"""Precedence of the sources of a cell's settings: paper < attack < scenario < per_model < per_attack."""

from typing import Any

import pytest

from dia.attacks.registry import ATTACKS
from dia.config.config import Config
from dia.config.jobs import attack_job
from dia.config.reduced import Reduction, reduced
from dia.errors import ConfigError
from dia.reporting.expected_cells import expected_cells, non_default_settings
from dia.settings.optimisation import SearchSettings
from dia.settings.scenario import Settings

DEFAULTS = ATTACKS["dia_lbfgs"].defaults
AXES = {"datasets": ["d"], "models": ["mlp", "vit"], "dropout_rates": ["0.5"], "seeds": [0]}


def config(attacks: tuple[str, ...] = ("dia", "dia_lbfgs"), **scenario: Any) -> Config:
    return Config.load(
        {
            "name": "n",
            "datasets": {"d": {"source": "bundled-mnist", "images": 8}},
            "scenarios": {"default": {"victims": 2, **scenario}},
            "grids": [{**AXES, "attacks": list(attacks)}],
        }
    )


def settings(attack: str, model: str = "mlp", **scenario: Any) -> dict[str, Any]:
    return config(**scenario).settings_of("default", model, attack).model_dump()


def test_the_defaults_of_an_attack_stand_between_the_papers_and_the_scenario() -> None:
    paper = Settings(victims=2).model_dump()
    assert settings("dia") == paper
    assert settings("dia_lbfgs") == paper | DEFAULTS
    assert all(DEFAULTS[key] != paper[key] for key in DEFAULTS)


@pytest.mark.parametrize("attack", ["dia", "dia_lbfgs"])
def test_what_a_scenario_writes_applies_to_all_attacks(attack: str) -> None:
    found = settings(attack, max_iterations=300, tv_weight=0.5)
    assert (found["max_iterations"], found["tv_weight"]) == (300, 0.5)


def test_a_scenario_that_writes_the_papers_value_overrides_the_attack() -> None:
    paper = Settings()
    for key in DEFAULTS:
        if key in ("tv_initial_factor", "lbfgs_start_iteration"):  # on which other settings depend: below
            continue
        assert settings("dia_lbfgs", **{key: getattr(paper, key)})[key] == getattr(paper, key)


def test_exceptions_for_a_model_win() -> None:
    exceptions = {"vit": {"tv_weight": 1e-5, "max_iterations": 7}}
    vit, mlp = (settings("dia_lbfgs", model, tv_weight=0.5, per_model=exceptions) for model in ("vit", "mlp"))
    assert (vit["tv_weight"], vit["max_iterations"]) == (1e-5, 7)
    assert (mlp["tv_weight"], mlp["max_iterations"]) == (0.5, 20_000)


def test_defaults_of_the_attack_that_have_no_effect_are_not_shown() -> None:
    """Rows would otherwise report what was not done, and no scenario could leave it out."""
    paper = Settings()
    found = settings("dia_lbfgs", tv_weight=0, lbfgs_start_iteration=None)
    for key in ("tv_initial_factor", "tv_decay_iterations", "lbfgs_history_size"):
        assert found[key] == getattr(paper, key)
    assert found["mask_init"] == "mean"


def test_ineffective_settings_are_judged_as_resolved() -> None:
    assert settings_of_alone("dia_lbfgs", lbfgs_history_size=5) == 5
    with pytest.raises(ConfigError, match=r"model 'mlp': lbfgs_history_size means nothing while lbfgs_start"):
        config(lbfgs_history_size=5)  # of dia, which shares the scenario
    with pytest.raises(ConfigError, match=r"attack 'dia_lbfgs': lbfgs_history_size means nothing"):
        config(("dia_lbfgs",), lbfgs_history_size=5, lbfgs_start_iteration=None)


def settings_of_alone(attack: str, **scenario: Any) -> int:
    return config((attack,), **scenario).settings_of("default", "mlp", attack).lbfgs_history_size


def test_jobs_tables_and_reduced_configs_have_the_resolved_settings() -> None:
    of = config(max_iterations=300)
    for cell in of.cells:
        expected = DEFAULTS if cell.attack == "dia_lbfgs" else {}
        assert attack_job(of, cell).settings == Settings(victims=2, max_iterations=300, **expected)
    lines = expected_cells(of).set_index("attack")
    assert set(lines.loc["dia_lbfgs", "mask_init"]) == {"mean"}
    assert set(lines.loc["dia", "mask_init"]) == {"bernoulli"}
    small = reduced(of, Reduction.from_file("config/reduced.yaml"))
    assert small.settings_of("default", "mlp", "dia_lbfgs") == Settings(
        **of.settings_of("default", "mlp", "dia_lbfgs").model_dump()
        | {"max_iterations": 20, "plateau_patience": 10, "history_points": 5, "training_clients": 4}
        | small.settings_of("default", "mlp", "dia").model_dump(
            include={"training_clients", "training_batch_size", "training_images", "test_images"}
        )
    )


def test_exceptions_for_an_attack_win_over_those_for_a_model() -> None:
    exceptions = {
        "per_model": {"vit": {"max_iterations": 7, "victims": 3}},
        "per_attack": {"dia": {"max_iterations": 5}},
    }
    found = {attack: settings(attack, "vit", **exceptions) for attack in ("ig", "dia")}
    assert [(f["max_iterations"], f["victims"]) for f in found.values()] == [(7, 3), (5, 3)]


def test_exceptions_for_an_attack_cannot_change_its_victims() -> None:
    """Attacks are compared on the same client gradients."""
    with pytest.raises(ConfigError, match=r"scenarios\.default\.per_attack\.dia: unknown key 'victims'"):
        settings("dia", per_attack={"dia": {"victims": 3}})


def test_notes_name_the_attack_whose_defaults_they_list() -> None:
    assert non_default_settings(expected_cells(config(max_iterations=300))) == (
        "max_iterations 300; victims 2; dia_lbfgs: loss_tolerance 1e-06, tv_weight 1e-06, tv_initial_factor 1000, "
        "tv_decay_iterations 450, mask_penalty_weight 0, lbfgs_start_iteration 30, lbfgs_history_size 20, "
        "mask_init mean"
    )
    overridden = non_default_settings(expected_cells(config(mask_init="ones", tv_initial_factor=2)))
    assert overridden.startswith(
        "victims 2; tv_initial_factor 2; mask_init ones; dia_lbfgs: loss_tolerance 1e-06, tv_weight"
    )
    alone = non_default_settings(expected_cells(config(("dia",), tv_weight=0.5)))
    assert alone == "tv_weight 0.5; victims 2"


def test_attacks_differ_in_the_optimisation_alone() -> None:
    """Attacks are compared on the same client gradients, of the same model."""
    for entry in ATTACKS.values():
        assert set(entry.defaults) <= set(SearchSettings.model_fields)
        Settings(**entry.defaults)


def test_exceptions_for_an_attack_are_reduced_too() -> None:
    axes = {"dropout_rates": ["0.5"], "seeds": [0]}
    bounds = {"settings": {"max_iterations": 20}, "images": 8, "axes": axes, "datasets": {}}
    exceptions = {"dia": {"max_iterations": 900, "tv_weight": 0.1}}
    small = reduced(config(per_attack=exceptions), Reduction.model_validate(bounds))
    found = {attack: small.settings_of("default", "mlp", attack) for attack in ("dia", "dia_lbfgs")}
    assert [(f.max_iterations, f.tv_weight) for f in found.values()] == [(20, 0.1), (20, 1e-6)]
