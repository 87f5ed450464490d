"""The notebook runs from a fresh kernel, checks its own result, and has its pictures in it."""

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "examples" / "notebook"
REASON = "nbclient, nbformat and ipykernel are needed: pip install 'dropout-inversion-attack[notebook]'"


@pytest.mark.parametrize("name", ["from_training_loop_to_image.ipynb"])
def test_the_notebook_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ipykernel", "nbclient"):
        pytest.importorskip(module, reason=REASON)
    nbformat = pytest.importorskip("nbformat", reason=REASON)
    from nbclient import NotebookClient

    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    pictures = [
        out
        for cell in notebook.cells
        for out in cell.get("outputs", [])
        if "image/png" in out.get("data", {})
    ]
    assert pictures, "run it once and save it with its pictures"
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
