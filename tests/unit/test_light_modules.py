"""Every job of a cluster parses the workflow: the modules that it needs for that import no heavy library."""

import subprocess
import sys

HEAVY = {"torch", "numpy", "pandas", "pyarrow", "mlflow", "matplotlib", "scipy", "snakemake"}

LIGHT = (
    "dia",
    "dia.errors",
    "dia.cli",
    "dia.cli.cells",
    "dia.cli.attack",
    "dia.cli.train",
    "dia.config.as_written",
    "dia.config.config",
    "dia.config.consistency",
    "dia.config.grid",
    "dia.config.jobs",
    "dia.config.reduced",
    "dia.config.switches",
    "dia.config.valid_part",
    "dia.config.reference",
    "dia.inversion.settings_file",
    "dia.cli.invert",
    "dia.jobs.attack_job",
    "dia.jobs.cell",
    "dia.jobs.training_job",
    "dia.settings.scenario",
    "dia.datasets.registry",
    "dia.models.custom",
    "dia.models.custom_source",
    "dia.models.dropout_sites",
    "dia.models.registry",
    "dia.defences.registry",
    "dia.attacks.registry",
    "dia.execution.attempts",
    "dia.execution.code_version",
    "dia.execution.provenance",
    "dia.execution.signals",
    "dia.reporting.figures.registry",
    "dia.reporting.tables.declared_reference",
    "dia.results.job_list",
    "dia.results.replacements",
    "dia.utils.block_checks",
    "dia.utils.canonical_json",
    "dia.utils.fault_locations",
    "dia.utils.files",
    "dia.utils.yaml_file",
    "dia.utils.lazy_import",
    "dia.utils.paths",
    "dia.utils.patterns",
    "dia.utils.source_fingerprint",
    "dia.utils.strict_model",
    "dia.utils.validation_errors",
)

SCRIPT = """
import importlib, sys
heavy, *light = sys.argv[1:]
for module in light:
    importlib.import_module(module)
    if found := set(heavy.split(",")) & set(sys.modules):
        sys.exit(f"{module} imports {sorted(found)}")
"""


def test_light_modules_import_no_heavy_library() -> None:
    command = [sys.executable, "-c", SCRIPT, ",".join(sorted(HEAVY)), *LIGHT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
