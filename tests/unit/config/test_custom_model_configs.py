"""A user's own model in a config, and which version of its code a job is for."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.custom_models import SOURCE

from dia.config.config import Config
from dia.config.jobs import attack_job, grid_hash, job_json, training_jobs
from dia.datasets.registry import parse_dataset
from dia.datasets.victim_selection import make_victims
from dia.errors import ConfigError, ModelError
from dia.execution.run_cell import fingerprint
from dia.jobs.attack_job import AttackJob
from dia.models.custom_source import source_files

SHAPE = (1, 8, 8)
pytestmark = pytest.mark.usefixtures("module")

CONFIG: dict[str, Any] = yaml.safe_load("""
name: own
datasets: {digits: {source: bundled-mnist, images: 4}}
models: {net: {factory: "module:mine.small", arguments: {classes: $num_classes, width: 2}}}
scenarios: {default: {victims: 1, per_model: {net: {max_iterations: 7}}}}
grids: [{datasets: [digits], models: [mlp, net], dropout_rates: ["0.5"], attacks: [dia], seeds: [0]}]
""")


def test_an_own_model_is_a_name_in_the_grid_and_part_of_the_job() -> None:
    config = Config.load(CONFIG)
    mlp, net = config.cells
    assert net.id == "default/digits/net/p0.5/dia/seed0"
    assert config.settings(net).max_iterations == 7
    assert (
        '"model":{"arguments":{"classes":"$num_classes","width":2},"dropout_rates":"cell","factory":"module:mine.small",'
        in (job_json(config, net))
    )
    assert AttackJob.parse(job_json(config, net)).model == config.model("net")
    assert AttackJob.parse(job_json(config, mlp)).model is None


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({}, "grids[0].models[1] = 'net': unknown model 'net'; did you mean 'lenet'? allowed: mlp, lenet"),
        ({"nett": {"factory": "module:mine.small"}}, "unknown model 'net'; did you mean 'nett'?"),
        (
            {"net": {"factory": "mine.small"}},
            "models.net.factory = 'mine.small': must be module:PACKAGE.NAME",
        ),
        (
            {"net": {"factory": "module:m.f", "arguments": {"n": "$classes"}}},
            "n: $classes is none of $num_classes",
        ),
        ({"net": {"arguments": {}}}, "models.net.factory: missing"),
        (
            {"net": {"factory": "module:m.f", "args": {}}},
            "models.net: unknown key 'args'; did you mean 'arguments'",
        ),
        (
            {"net": {"factory": "vit", "arguments": {"n": 1}}},
            "models.net: the built-in architecture vit takes no arguments: leave them out",
        ),
        ({"net": {"factory": "vit", "dropout_rates": "own"}}, "vit has no dropout rates of its own"),
        ({"net": {"factory": "vitt"}}, "or a built-in architecture: mlp, lenet"),
        ({"net": {"factory": "module:m.f", "weights": ""}}, "models.net.weights"),
        (
            {"net": {"factory": "module:m.f", "weights": "w.h5"}},
            "models.net.weights = 'w.h5': must be a file with one of the suffixes .safetensors, .npz, .pt, .pth",
        ),
        (
            {"net": {"factory": "module:m.f"}, "mlp": {"factory": "module:m.f"}},
            "models.mlp: mlp is a built-in architecture",
        ),
    ],
)
def test_bad_definitions_are_refused(models: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(CONFIG | {"models": models})
    assert message in str(caught.value)


def test_unknown_sites_of_an_architecture_are_refused_before_any_job() -> None:
    scenario = {"victims": 1, "dropout_sites": "activations", "per_model": {"vit": {"dropout_sites": "all"}}}
    mapping = CONFIG | {"scenarios": {"default": scenario}}
    Config.load(mapping)
    mapping["grids"] = [CONFIG["grids"][0] | {"models": ["vit", "lenet"]}]
    with pytest.raises(ConfigError) as caught:
        Config.load(mapping)
    message = "unknown dropout site of lenet 'activations'; did you mean 'convolutions'? allowed: default, all, conv"
    assert f"scenario 'default': {message}" in str(caught.value)


def test_the_source_is_what_lies_in_the_folder_and_all_that_it_imports_from_there(tmp_path: Path) -> None:
    for name, text in {
        "nets/__init__.py": "",
        "nets/wide.py": "import os, torch\nfrom dia.models.vit import ViT\nfrom .layers import norm\nimport shared",
        "nets/layers/__init__.py": "from ..activations import act",
        "nets/layers/norm.py": "def late():\n    import shared.tools",
        "nets/activations.py": "",
        "nets/other.py": "",
        "shared.py": "import nets.wide",  # a circle
        "alone.py": "",
        "dia/models/vit.py": "",  # this package has a fingerprint of its own
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def files(module: str) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in source_files(module, tmp_path)]

    assert files("nets.wide") == [
        "nets/__init__.py",
        "nets/activations.py",
        "nets/layers/__init__.py",
        "nets/layers/norm.py",
        "nets/wide.py",
        "shared.py",
    ]
    assert files("alone") == ["alone.py"]
    assert files("torchvision.models") == files("dia.models.vit") == []


def test_only_a_change_of_the_code_makes_another_version(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(module.parent)

    def job() -> str:
        config = Config.load(CONFIG)
        return job_json(config, config.cells[1])

    first = job()
    module.write_text(f'"""A docstring."""\n# A comment.\n{SOURCE}\n')
    os.utime(module, (0, 0))
    assert job() == first
    module.write_text(SOURCE.replace("width=4", "width=5"))
    assert job() != first
    module.write_text(
        SOURCE + "\ndef half("
    )  # to be refused when it is imported, not while a grid is planned
    assert job() != first


def test_weights_are_known_by_their_content(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them a job's text is what it always was."""
    monkeypatch.chdir(module.parent)
    home = module.parent / "home"
    monkeypatch.setenv("HOME", str(home))
    home.mkdir()
    weights, digest = home / "w.npz", hashlib.sha256(b"one").hexdigest()
    definition = CONFIG["models"]["net"]

    def jobs(model: dict[str, Any]) -> tuple[str, str, list[str]]:
        config = Config.load(
            CONFIG
            | {"models": {"net": model}, "scenarios": {"default": {"victims": 1, "federated_rounds": 1}}}
        )
        return job_json(config, config.cells[1]), grid_hash(config), list(training_jobs(config))[1:]

    plain = jobs(definition)
    assert "weights" not in json.dumps(json.loads(plain[0])["model"])
    assert jobs(definition | {"weights": None})[0] == plain[0]
    with pytest.raises(ModelError, match=r"weights ~/w.npz: cannot be read \(No such file"):
        jobs(definition | {"weights": "~/w.npz"})
    weights.write_bytes(b"one")
    one = jobs(definition | {"weights": "~/w.npz"})
    assert json.loads(one[0])["model"] == json.loads(plain[0])["model"] | {
        "weights": "~/w.npz",
        "weights_sha256": digest,
    }
    planned = AttackJob.parse(one[0]).model
    assert planned is not None
    os.utime(weights, (0, 0))
    assert jobs(definition | {"weights": "~/w.npz"}) == one
    weights.write_bytes(b"two")
    two = jobs(definition | {"weights": "~/w.npz"})
    assert all(new != old for new, old in zip(two, one, strict=True))
    with pytest.raises(ModelError, match="is not the one that this job was planned for"):
        planned.make(SHAPE, 3, 0.5)


def test_rates_without_effect_are_duplicates() -> None:
    grid = CONFIG["grids"][0] | {"dropout_rates": ["0.1", "0.5"], "attacks": ["ig"]}
    own = {"factory": "module:mine.small", "arguments": {"classes": "$num_classes"}, "dropout_rates": "own"}
    with pytest.raises(ConfigError) as caught:
        Config.load(CONFIG | {"models": {"net": own}, "grids": [grid]})
    assert str(caught.value).splitlines()[1:] == [
        "  grids[0]: duplicate cell default/digits/net/p0.5/ig/seed0, already in grids[0] (as "
        "default/digits/net/p0.1/ig/seed0): models.net has dropout_rates: own and no $dropout_rate, so list one rate"
    ]
    told = own | {"arguments": own["arguments"] | {"rate": "$dropout_rate"}}  # type: ignore[operator]
    Config.load(CONFIG | {"models": {"net": told}, "grids": [grid]})


def test_sites_of_a_built_in_architecture_with_weights_are_its_own() -> None:
    models = {"net": {"factory": "vit", "weights": "w.pt"}}
    Config.load(
        CONFIG
        | {
            "models": models,
            "scenarios": {"default": {"victims": 1, "per_model": {"net": {"dropout_sites": "hidden"}}}},
        }
    )
    with pytest.raises(ConfigError, match="unknown dropout site of vit 'head'"):
        Config.load(
            CONFIG
            | {
                "models": models,
                "scenarios": {"default": {"victims": 1, "per_model": {"net": {"dropout_sites": "head"}}}},
            }
        )


def test_a_file_that_changes_after_planning_is_refused(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers would stand under the version that was planned."""
    monkeypatch.chdir(module.parent)
    config = Config.load(CONFIG)
    planned = AttackJob.parse(job_json(config, config.cells[1])).model
    assert planned is not None
    planned.make(SHAPE, 3, 0.5)
    module.write_text(SOURCE.replace("nn.ReLU()", "nn.Tanh()", 1))
    with pytest.raises(
        ModelError,
        match=r"the files of mine in .* are not those that this job was planned for",
    ):
        planned.make(SHAPE, 3, 0.5)


def test_another_version_is_another_model_to_train_and_its_checkpoint_another(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(module.parent)
    scenario = {"default": {"victims": 1, "federated_rounds": 1}}
    victims = make_victims(parse_dataset('{"source": "bundled-mnist", "images": 4}', "digits"), "digits")

    def versions() -> tuple[list[str], list[str]]:
        config = Config.load(CONFIG | {"scenarios": scenario})
        jobs = [attack_job(config, cell) for cell in config.cells]
        return list(training_jobs(config)), [fingerprint(job, victims) for job in jobs]

    (mlp, net), (mlp_state, net_state) = versions()
    module.write_text(SOURCE.replace("width=4", "width=5"))
    (same, other), (same_state, other_state) = versions()
    assert (same, same_state) == (mlp, mlp_state)
    assert other != net
    assert other_state != net_state
