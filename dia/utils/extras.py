"""Packages that `import dia` does not need: which extra of the distribution installs them."""

DISTRIBUTION = "dropout-inversion-attack"

WORKFLOW = ("snakemake", "mlflow", "torchmetrics", "pandas", "matplotlib")
"""Modules that the extra ``workflow`` installs."""


def install_hint(error: ModuleNotFoundError) -> str | None:
    """Say how to install a missing module of an extra; None for any other module."""
    module = (error.name or "").partition(".")[0]
    if module not in WORKFLOW:
        return None
    return f"this needs the Python package {module}: pip install '{DISTRIBUTION}[workflow]'"
