"""The config: what it spans, what it refuses and with which words, and the identity of a cell."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.configs import BASE, changed

from dia.cli.schema import schema
from dia.config.config import Config
from dia.config.jobs import job_json
from dia.errors import ConfigError
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.settings.scenario import Settings
from dia.utils.yaml_file import parse_yaml

ROOT = Path(__file__).parents[3]


def test_grid_spans_the_product_in_order() -> None:
    cells = Config.load(BASE).cells
    assert len(cells) == len(set(cells)) == 2 * 2 * 3 * 2
    assert [cell.id for cell in cells[:3]] == [
        "default/mnist/mlp/p0/ig/seed0",
        "default/mnist/mlp/p0/ig/seed1",
        "default/mnist/mlp/p0/wiig/seed0",
    ]
    assert cells[-1].id == "default/mnist/vit/p0.25/dia/seed1"


def test_results_are_named_after_the_config() -> None:
    config = Config.load(BASE)
    expected = "results/small/cells/default/mnist/mlp/p0/ig/seed0.parquet"
    assert str(config.cell_path(config.cells[0])) == expected


def test_exceptions_for_a_model_replace_only_what_they_name() -> None:
    config = Config.load(BASE)
    mlp, vit = config.settings(config.cells[0]), config.settings(config.cells[-1])
    assert mlp == Settings(victims=16, max_iterations=300)
    assert vit == Settings(victims=4, max_iterations=300, learning_rate=0.05)


def test_defaults_are_the_paper_s() -> None:
    settings = Settings()
    assert (settings.victims, settings.batch_size, settings.max_iterations) == (128, 1, 20_000)
    assert (settings.learning_rate, settings.plateau_factor, settings.plateau_patience) == (0.1, 0.1, 800)
    assert (settings.early_stop_patience, settings.loss_tolerance) == (4_000, 1e-5)
    assert (settings.tv_weight, settings.mask_penalty_weight) == (1e-5, 1e-4)


def test_every_setting_may_differ_by_model() -> None:
    mapping = changed("scenarios", "default", "per_model", "vit", value={"victims": 4, "tv_weight": 0.01})
    mapping["scenarios"]["default"]["tv_weight"] = 0.1
    config = Config.load(mapping)
    weights = {
        cell.model: json.loads(job_json(config, cell))["settings"]["tv_weight"] for cell in config.cells
    }
    assert weights == {"mlp": 0.1, "vit": 0.01}


def test_a_number_like_1e_5_is_a_number() -> None:
    """YAML 1.1 reads 1e-5 (no point) as text."""
    mapping = changed("scenarios", "default", "tv_weight", value="NUMBER")
    config = Config.load(parse_yaml(yaml.safe_dump(mapping).replace("NUMBER", "1e-5"), "c.yaml"))
    assert config.settings(config.cells[0]).tv_weight == 1e-5


# Identity


def test_job_text_is_stable() -> None:
    """The text is the identity of a finished cell: if this changes, every user's cells run again."""
    config = Config.load(BASE)
    assert job_json(config, config.cells[0]) == (
        '{"cell":{"attack":"ig","dataset":"mnist","dropout_rate":"0","model":"mlp","scenario":"default",'
        '"seed":0},"dataset":{"images":16,"mean":null,"normalisation":"mnist","source":"bundled-mnist",'
        '"std":null},"settings":{"adam_beta2":0.999,"attacker_dropout_rate":"known",'
        '"attacker_labels":"known","batch_size":1,"client_mask_seed_space":null,"cosine_epsilon":"absolute","defence_clip_norm":null,'
        '"defence_keep_fraction":1.0,"defence_noise_std":0.0,"defence_quantisation":"none",'
        '"dropout_sites":"default","early_stop_patience":4000,"federated_rounds":0,'
        '"final_learning_rate":0.0001,"history_points":100,"lbfgs_history_size":10,'
        '"lbfgs_start_iteration":null,"learning_rate":0.1,"learning_rate_schedule":"plateau",'
        '"local_batch_size":null,"local_epochs":0,"local_learning_rate":0.01,"loss_tolerance":1e-05,'
        '"lpips_network":"none","mask_init":"bernoulli","mask_learning_rate":null,'
        '"mask_parametrisation":"clipped","mask_penalty_weight":0.0001,"max_iterations":300,'
        '"plateau_factor":0.1,"plateau_patience":800,"precision":"float32","restarts":1,'
        '"seed_candidates":4096,"server_learning_rate":0.1,"signed_gradients":true,"success_min_ssim":0.6,'
        '"test_images":2000,"tf32":false,"training_batch_size":32,"training_clients":10,'
        '"training_images":10000,"tv_decay_iterations":600,"tv_initial_factor":1.0,"tv_weight":1e-05,'
        '"victims":16}}'
    )


def test_job_parses_back() -> None:
    config = Config.load(BASE)
    for cell in config.cells:
        text = job_json(config, cell)
        job = AttackJob.parse(text)
        assert (job.cell, job.settings, job.dataset["source"]) == (
            cell,
            config.settings(cell),
            "bundled-mnist",
        )
        assert job.canonical_json() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the job is not JSON"),
        ("[]", "the job: 1 fault\n  top level = \\[\\]: must be a mapping"),
        ("{}", "the job: 3 faults\n  cell: missing\n  settings: missing\n  dataset: missing"),
        (
            '{"cell":{},"dataset":{},"settings":{},"extra":1}',
            "unknown key 'extra'; allowed: cell, settings, dataset",
        ),
        ('{"cell":{"scenario":"../up"},"dataset":{},"settings":{}}', "cell.scenario = '../up': "),
    ],
)
def test_other_texts_are_no_job(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AttackJob.parse(text)


def test_a_job_with_an_unknown_setting_is_refused() -> None:
    config = Config.load(BASE)
    parts = json.loads(job_json(config, config.cells[0]))
    parts["settings"]["momentum"] = 0.9
    with pytest.raises(ConfigError, match="the job: 1 fault\n  settings: unknown key 'momentum'"):
        AttackJob.parse(json.dumps(parts))


def test_every_setting_is_in_the_identity() -> None:
    config = Config.load(BASE)
    parts = json.loads(job_json(config, config.cells[0]))
    assert set(parts["settings"]) == set(Settings.model_fields)


def test_execution_and_whereabouts_are_not_in_the_identity() -> None:
    files = {"source": "file", "path": "here.npz", "num_classes": 10, "normalisation": "mnist", "images": 16}
    here = Config.load(changed("datasets", "mnist", value=files))
    moved = changed("datasets", "mnist", value=files | {"path": "there.npz"})
    execution = {"device": "cpu", "threads": 2, "victims_per_chunk": 4, "compile": True, "compile_cache": "x"}
    execution["cuda_graph"] = True
    there = Config.load(moved | {"execution": execution})
    assert [job_json(here, cell) for cell in here.cells] == [job_json(there, cell) for cell in there.cells]


def test_identity_of_a_config_loads_to_the_same_cells_and_settings() -> None:
    config = Config.load(BASE)
    again = Config.load(json.loads(config.identity()))
    assert again.cells == config.cells
    assert [again.settings(cell) for cell in again.cells] == [config.settings(cell) for cell in config.cells]


# The files of this repository


NOT_ALONE = {
    "reduced.yaml",
    "received.yaml",
}  # the one is no config, the other describes files of the user's own
SHIPPED = [path for path in (ROOT / "config").glob("*.yaml") if path.name not in NOT_ALONE]
SHIPPED += (ROOT / "config" / "studies").glob("*.yaml")


@pytest.mark.parametrize("path", sorted(SHIPPED), ids=lambda path: path.name)
def test_shipped_configs_are_valid(path: Path) -> None:
    config = Config.from_file(path)
    assert config.cells
    for table in config.tables:
        assert (ROOT / "config" / "tables" / f"{table}.yaml").is_file()


def test_paper_config_has_all_axes_and_the_paper_s_settings() -> None:
    config = Config.from_file(ROOT / "config" / "paper.yaml")
    assert len(config.cells) == 4 * 3 * 5 * 3 * 3
    on_imagenet = {cell.model for cell in config.cells if cell.dataset == "imagenet"}
    assert on_imagenet == {"mlp", "lenet", "resnet18", "vit_b16"}
    assert {cell.dropout_rate for cell in config.cells} == {"0", "0.1", "0.25", "0.5", "0.75"}
    ours = ("lenet", "resnet18")  # of which no recipe is known: they have one of their own
    assert {config.settings(cell) for cell in config.cells if cell.model not in ours} == {Settings()}
    for model in ours:
        changed = config.settings_of("default", model, "dia").model_dump(exclude_defaults=True)
        assert {"tv_weight"} <= changed.keys() <= {"tv_weight", "learning_rate", "learning_rate_schedule"}


def test_the_reproduction_has_the_recipes_of_the_paper_s_config() -> None:
    paper, ours = (Config.from_file(ROOT / "config" / f"{name}.yaml") for name in ("paper", "reproduction"))
    for model in ("mlp", "lenet", "resnet18", "vit"):
        for attack in ("ig", "wiig", "dia"):
            settings = [config.settings_of("default", model, attack) for config in (paper, ours)]
            assert settings[0].model_copy(update={"victims": 0}) == settings[1].model_copy(
                update={"victims": 0}
            )


def test_schema_file_is_in_step_with_the_code() -> None:
    stored = (ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text()
    assert stored == schema(), "run `make schema`"


def leaves(node: Any, where: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every property of the JSON schema with its place."""
    found = []
    for name, definition in node.get("$defs", {}).items():
        found += leaves(definition, name)
    for name, body in node.get("properties", {}).items():
        found.append((f"{where}.{name}", body))
    return found


def test_schema_is_closed_and_describes_every_key() -> None:
    document = yaml.safe_load(schema())
    assert all(body["additionalProperties"] is False for body in [document, *document["$defs"].values()])
    undescribed = [where for where, body in leaves(document) if not body.get("description")]
    assert undescribed == []


def test_config_imports_nothing_heavy() -> None:
    """Every cluster job parses the workflow, and with it the config."""
    code = "import sys, dia.config.config, dia.cli; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "pandas", "numpy", "mlflow", "pyarrow", "snakemake"} & set(modules)


def test_ten_thousand_cells_are_parsed_at_once() -> None:
    config = Config.load(changed("grids", 0, "seeds", value=list(range(1000))))
    assert len(config.cells) == 12_000
    assert len({job_json(config, cell) for cell in config.cells}) == 12_000
    assert isinstance(config.cells[0], Cell)
