"""The layers of the package: imports run downwards, and what every cluster job imports is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dia"
LAYERS = (
    "cli", "verification", "reporting", "execution", "results", "config", "evaluation", "attacks", "federated", "jobs",
    "gradients", "defences", "models", "datasets", "settings", "ops", "utils", "errors",
)  # fmt: skip
"""From top to bottom; docs/how-it-works.md shows them."""
OUTSIDE = {"__init__", "__main__"}
"""Modules that stand above all layers."""
LIGHT = (
    "dia.config.reduced", "dia.config.jobs", "dia.jobs.cell", "dia.reporting.figures.registry", "dia.datasets.registry",
    "dia.models.registry", "dia.models.custom", "dia.attacks.registry", "dia.settings.scenario", "dia.utils.files",
    "dia.utils.canonical_json", "dia.utils.source_fingerprint",
)  # fmt: skip
"""What the workflow imports when it is parsed, which every job does."""


def imported(path: Path) -> set[str]:
    """Names of the packages in ``dia`` that a module imports, also inside functions and for type checkers."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} if node.module != "dia" else {f"dia.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("dia.")} - {"__version__"}


def test_every_package_is_a_layer() -> None:
    found = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found == {*LAYERS, *OUTSIDE}


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_downwards(layer: str) -> None:
    above = {*LAYERS[: LAYERS.index(layer)], *OUTSIDE}
    modules = (
        [PACKAGE / f"{layer}.py"] if (PACKAGE / f"{layer}.py").exists() else (PACKAGE / layer).rglob("*.py")
    )
    against = {str(path.relative_to(PACKAGE)): wrong for path in modules if (wrong := imported(path) & above)}
    assert not against


def test_what_every_job_imports_is_light() -> None:
    code = f"import sys, {', '.join(LIGHT)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "torch",
        "torchvision",
        "numpy",
        "scipy",
        "pandas",
        "pyarrow",
        "matplotlib",
        "mlflow",
        "PIL",
        "snakemake",
    }
    assert not heavy & set(done.stdout.split())
