"""``import dia``: light, and what a user of the library finds there."""

import importlib
import subprocess
import sys

import pytest
from helpers.configs import changed

import dia


def test_importing_the_package_imports_no_library() -> None:
    code = "import sys; before = set(sys.modules); import dia; dir(dia); print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in done.stdout.split()} - set(sys.stdlib_module_names) == {"dia"}


@pytest.mark.parametrize("name", dia.__all__)
def test_every_public_name_is_there(name: str) -> None:
    found = getattr(dia, name)
    assert name in dir(dia)
    if name == "__version__":
        return
    assert found.__doc__, f"dia.{name} has no docstring"
    # `import dia.x` would hide the object of the same name
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"dia.{name}")


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="module 'dia' has no attribute 'invertt'"):
        dia.invertt  # noqa: B018


def test_a_cell_runs_from_python() -> None:
    """The public names are enough to attack images without the workflow."""
    config = dia.Config.load(changed("scenarios", "default", value={"victims": 2, "max_iterations": 3}))
    cell = config.cells[0]
    victims = dia.make_victims(config.dataset(cell.dataset), cell.dataset)
    assert isinstance(victims, dia.VictimSet)
    rows = dia.run_cell(
        dia.attack_job(config, cell), victims, device="cpu", threads=1, victims_per_chunk=None
    )
    assert [row["iterations"] for row in rows] == [3, 3]
