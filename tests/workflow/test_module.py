"""The workflow as a module of another one, with a config of its own; and what others read about it."""

from pathlib import Path
from typing import Any

import yaml
from helpers.workplace import ROOT, Workplace

SNAKEFILE = """
configfile: "own.yaml"


module dia:
    snakefile:
        "{root}/Snakefile"
    config:
        config["dia"]


use rule * from dia as dia_*


rule everything:
    default_target: True
    input:
        rules.dia_all.input,
    output:
        "done.txt",
    shell:
        "touch {{output}}"
"""


def test_another_workflow_runs_it_as_a_module_with_its_own_config(
    workplace: Workplace, test_config: dict[str, Any]
) -> None:
    folder = workplace.folder
    test_config |= {"name": "embedded", "tables": ["dropout", "released", "own"], "figures": ["rates"]}
    del test_config["grids"][1]
    test_config["grids"][0]["dropout_rates"] = ["0.5"]
    test_config["grids"][0]["attacks"] = ["ig"]
    (folder / "own.yaml").write_text(yaml.safe_dump({"dia": test_config, "other": 1}))
    # A table of the importing workflow's own, found in its folder.
    (folder / "config" / "tables").mkdir(parents=True)
    table = (ROOT / "config" / "tables" / "ig.yaml").read_text().replace("Effect of dropout", "Our own table")
    (folder / "config" / "tables" / "own.yaml").write_text(table)
    (folder / "Snakefile").write_text(SNAKEFILE.format(root=ROOT))
    workplace.snakemake("--snakefile", folder / "Snakefile")
    assert (folder / "done.txt").exists()
    assert "1 of 1 cells" in (folder / "results/embedded/tables/dropout.md").read_text()
    assert "Our own table" in (folder / "results/embedded/tables/own.md").read_text()
    assert (folder / "results/embedded/figures/rates/default.png").exists()
    assert not (folder / "results/quickstart").exists()


def test_the_catalog_and_the_citation_are_what_their_readers_expect() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["report"] is True
    assert usage["software-stack-deployment"]["conda"] is True
    for needed in ("config/README.md", "config/config.yaml", "workflow/envs/dia.yaml"):
        assert Path(ROOT, needed).exists()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "authors", "message", "version", "license"} <= set(citation)
    import dia

    assert citation["version"] == dia.__version__
    assert citation["preferred-citation"]["identifiers"][0]["value"] == "arXiv:2208.06163"
