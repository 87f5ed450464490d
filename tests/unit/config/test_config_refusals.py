"""What is wrong with a config is said at once, with the key, the value and what would be right."""

from pathlib import Path
from typing import Any

import pytest
from helpers.configs import BASE, changed

from dia.config.config import Config
from dia.errors import ConfigError

REFUSED = [
    (
        ("scenarios", "default", "max_iteration"),
        3,
        "scenarios.default: unknown key 'max_iteration'; did you mean 'max_iterations'? allowed: ",
    ),
    (
        ("scenarios", "default", "per_model", "vit", "lr"),
        3,
        "scenarios.default.per_model.vit: unknown key 'lr'",
    ),
    (
        ("scenarios", "default", "per_model", "vti"),
        {},
        "scenarios.default.per_model.vti = 'vti': unknown model",
    ),
    (
        ("nmae",),
        3,
        "top level: unknown key 'nmae'; did you mean 'name'? allowed: name, datasets, models, scenarios",
    ),
    (("name",), "../up", "name = '../up': a name has lower-case letters"),
    (
        ("datasets", "mnist", "source"),
        "bundled-mnst",
        "datasets.mnist.source: unknown source 'bundled-mnst'; did you mean 'bundled-mnist'? allowed: ",
    ),
    (("datasets", "mnist"), {"images": 3}, "datasets.mnist.source: missing"),
    (("datasets", "mnist", "imges"), 3, "datasets.mnist: unknown key 'imges'; did you mean 'images'?"),
    (("datasets", "mnist", "images"), 6000, "datasets.mnist.images = 6000: must be at most 5000"),
    (
        ("datasets", "mine"),
        {"source": "file", "num_classes": 2, "normalisation": "mnist"},
        "datasets.mine.path: missing (The .npz",
    ),
    (("datasets", "My set"), {"source": "bundled-mnist"}, "datasets.My set = 'My set': a name has"),
    (("datasets",), ["mnist"], "datasets = ['mnist']: must be a mapping"),
    (
        ("grids", 0, "models"),
        ["mlpp"],
        "grids[0].models[0] = 'mlpp': unknown model 'mlpp'; did you mean 'mlp'? allowed: mlp, lenet, resnet18, vit",
    ),
    (("grids", 0, "models"), "mlp", "grids[0].models = 'mlp': must be a list"),
    (
        ("grids", 0, "attacks"),
        ["ig", "dai"],
        "grids[0].attacks[1] = 'dai': unknown attack 'dai'; did you mean 'dia'? allowed: ig, wiig, dia",
    ),
    (
        ("grids", 0, "datasets"),
        ["mnst"],
        "grids[0].datasets: unknown dataset 'mnst'; did you mean 'mnist'? allowed: mnist",
    ),
    (
        ("grids", 0, "scenario"),
        "defualt",
        "grids[0].scenario: unknown scenario 'defualt'; did you mean 'default'? allowed: default",
    ),
    (("grids", 0, "dropout_rates"), ["0", "1.0"], "dropout_rates[1] = '1.0': a dropout rate lies in [0, 1)"),
    (
        ("grids", 0, "dropout_rates"),
        ["-0.1"],
        "grids[0].dropout_rates[0] = '-0.1': a dropout rate lies in [0, 1)",
    ),
    (("grids", 0, "dropout_rates"), ["1e-1"], "= '1e-1': a dropout rate lies in [0, 1)"),
    (("grids", 0, "dropout_rates"), ["nan"], "= 'nan': a dropout rate lies in [0, 1)"),
    (("grids", 0, "dropout_rates"), ["0." + "9" * 30], "a dropout rate lies in [0, 1)"),
    (
        ("grids", 0, "dropout_rates"),
        [0.5],
        "grids[0].dropout_rates[0] = 0.5: a dropout rate is quoted, because its "
        'spelling names the files: write "0.5"',
    ),
    (
        ("grids", 0, "dropout_rates"),
        ["0.5", "0.50"],
        "grids[0]: duplicate cell default/mnist/mlp/p0.50/ig/seed0, "
        "already in grids[0] (as default/mnist/mlp/p0.5/ig/seed0)",
    ),
    (("grids", 0, "seeds"), [], "grids[0].seeds: empty; give at least one value"),
    (("grids", 0, "seeds"), [-1], "grids[0].seeds[0] = -1: must be at least 0"),
    (("grids", 0, "seeds"), [True], "grids[0].seeds[0] = true: must be a whole number"),
    (("grids",), [], "grids: empty; give at least one value"),
    (
        ("grids",),
        BASE["grids"] * 2,
        "grids[1]: duplicate cell default/mnist/mlp/p0/ig/seed0, already in grids[0]",
    ),
    (
        ("scenarios", "default", "victims"),
        17,
        "grids[0]: scenario 'default' takes 17 victims of 1 image(s) for model "
        "'mlp', more than the 16 of datasets.mnist.images",
    ),
    (("scenarios", "default", "batch_size"), 2, "takes 16 victims of 2 image(s)"),
    (
        ("scenarios", "default", "local_batch_size"),
        1,
        "scenario 'default', model 'mlp': local_batch_size means nothing while local_epochs is 0",
    ),
    (
        ("scenarios", "default", "per_model", "vit", "local_learning_rate"),
        0.1,
        "scenario 'default', model 'vit': local_learning_rate means nothing while local_epochs is 0",
    ),
    (
        ("scenarios", "default", "final_learning_rate"),
        0.01,
        "final_learning_rate means nothing while learning_rate_schedule is plateau: set learning_rate_schedule, or",
    ),
    (
        ("scenarios", "default"),
        {"victims": 16, "tv_weight": 0, "tv_initial_factor": 5},
        "tv_initial_factor means nothing while tv_weight is 0",
    ),
    (("scenarios", "default", "tv_initial_factor"), 0.5, "tv_initial_factor = 0.5: must be at least 1"),
    (("scenarios", "default", "tv_decay_iterations"), 5, "means nothing while tv_initial_factor is 1: set"),
    (("scenarios", "default", "lbfgs_history_size"), 5, "means nothing while lbfgs_start_iteration is null"),
    (("scenarios", "default", "adam_beta2"), 1, "adam_beta2 = 1: must be below 1.0"),
    (("scenarios", "default", "victims"), "16", "scenarios.default.victims = '16': must be a whole number"),
    (("scenarios", "default", "victims"), 0, "scenarios.default.victims = 0: must be at least 1"),
    (
        ("scenarios", "default", "tv_weight"),
        float("nan"),
        "scenarios.default.tv_weight = nan: must be a finite number",
    ),
    (("scenarios", "default", "plateau_factor"), 1, "scenarios.default.plateau_factor = 1: must be below 1"),
    (
        ("scenarios", "default", "precision"),
        "half",
        "scenarios.default.precision = 'half': must be 'float32' or",
    ),
    (("scenarios", "default", "tf32"), "no", "scenarios.default.tf32 = 'no': must be true or false"),
    (("scenarios", "default"), None, "scenarios.default = null: must be a mapping"),
    (("execution",), {"device": "gpu"}, "execution.device = 'gpu': must be 'auto', 'cpu' or 'cuda'"),
    (("execution",), {"threads": 0}, "execution.threads = 0: must be at least 1"),
    (
        ("execution",),
        {"victims_per_chunk": 0},
        "execution.victims_per_chunk = 0: must be auto or a whole number",
    ),
    (
        ("execution",),
        {"compile": "always"},
        "execution.compile = 'always': must be auto, true or false",
    ),
    (("execution",), {"compile_cache": ""}, "execution.compile_cache = ''"),
    (("execution",), {"cuda_graph": 1}, "execution.cuda_graph = 1"),
    (("execution",), {"device": "mps"}, "execution.device = 'mps': must be 'auto', 'cpu' or 'cuda'"),
]


def refusal(mapping: Any) -> str:
    """The message with which a config is refused."""
    with pytest.raises(ConfigError) as caught:
        Config.load(mapping)
    return str(caught.value)


@pytest.mark.parametrize(("keys", "value", "message"), REFUSED, ids=lambda part: str(part)[:40])
def test_refusals_name_key_value_and_what_is_allowed(keys: tuple[Any, ...], value: Any, message: str) -> None:
    assert message in refusal(changed(*keys, value=value))


def test_all_faults_are_listed_at_once_and_only_once() -> None:
    mapping = changed("grids", 0, "models", value=["mlpp"])
    mapping["nmae"] = 1
    mapping["execution"] = {"threads": 0}
    lines = refusal(mapping).splitlines()
    assert lines[0] == "config: 3 faults"
    assert len(lines) == 4


def test_many_faults_are_cut_short() -> None:
    message = refusal(changed("grids", value=BASE["grids"] * 3))
    assert message.startswith("config: 48 faults")
    assert message.endswith("... and 28 more")
    assert len(message.splitlines()) == 22


@pytest.mark.parametrize("mapping", [None, [], "text"])
def test_a_config_is_a_mapping(mapping: Any) -> None:
    assert "top level" in refusal(mapping)
    assert "must be a mapping" in refusal(mapping)


def test_an_empty_config_says_what_is_missing() -> None:
    message = refusal({})
    for key in ("name", "datasets", "grids"):
        assert f"\n  {key}: missing (" in message


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the config .*absent\.yaml"):
        Config.from_file(tmp_path / "absent.yaml")
    (tmp_path / "bad.yaml").write_text("name: [")
    with pytest.raises(ConfigError, match=r"bad\.yaml is not YAML"):
        Config.from_file(tmp_path / "bad.yaml")
    (tmp_path / "wrong.yaml").write_text("nmae: x")
    with pytest.raises(ConfigError, match=r"wrong\.yaml: 4 faults"):
        Config.from_file(tmp_path / "wrong.yaml")
