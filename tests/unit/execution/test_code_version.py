"""The fingerprint of the code that computes numbers, and that a process runs one version of it."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dia.execution.code_version import NUMERIC, PACKAGE, code_fingerprint, numeric_files

# Modules that the code behind the numbers may import although they are no part of its fingerprint, and why.
CARRIERS = {
    "dia.errors": "messages for people",
    "dia.utils.canonical_json": "writes values as they are",
    "dia.settings": "their values are in a cell's identity, defaults too",
    "dia.jobs": "what a cell is told is in its identity",
    "dia.utils.devices": "chooses a device, which a row records",
    "dia.utils.text": "words of messages",
    "dia.utils.files": "writes and reads bytes as they are",
    "dia.utils.npz": "reads arrays as they are",
    "dia.utils.tensor_file": "reads tensors as they are",
    "dia.utils.log": "messages for people",
    "dia.utils.lazy_import": "imports what a registry names",
    "dia.utils.strict_model": "accepts or refuses values, which are in the identity",
    "dia.utils.validation_errors": "messages for people",
    "dia.utils.source_fingerprint": "the fingerprint itself",
    "dia.results": "stores numbers as they are",
    "dia.execution.attempts": "notes how far an attack is",
    "dia.execution.code_version": "the fingerprint itself",
    "dia.execution.progress": "shows how far an attack is",
    "dia.execution.provenance": "where and when a cell ran",
    "dia.execution.rescue": "where files lie, not what is in them",
    "dia.execution.signals": "when to stop",
    "dia.utils.paths": "where files lie, not what is in them",
    "dia.utils.patterns": "accepts or refuses names, which are in the identity",
    "dia.utils.progress_bar": "shows how far an attack is",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that a test may edit."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "dia", ignore=shutil.ignore_patterns("__pycache__")))


def edited(package: Path, name: str, old: str, new: str) -> str:
    """The fingerprint after one edit."""
    path = package / name
    source = path.read_text()
    assert old in source
    path.write_text(source.replace(old, new))
    code_fingerprint.cache_clear()
    return code_fingerprint(package)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("settings/optimisation.py", 'description="', 'description="In other words: '),
        ("datasets/specs.py", 'description="', 'description="In other words: '),
        ("models/custom.py", 'description="', 'description="In other words: '),
        ("errors.py", "Base of all errors", "The base of all errors"),
        ("models/custom.py", "cannot be imported (", "could not be imported ("),
        ("cli/attack.py", "HELP = ", "HELP = '' + "),
        ("reporting/tables/layout.py", "import", "import os, "),
        ("reporting/figures/rates.py", "import", "import os, "),
        ("results/columns.py", "import", "import os, "),
        ("config/config.py", "import", "import os, "),
    ],
)
def test_words_tables_and_figures_leave_the_fingerprint_alone(
    package: Path, name: str, old: str, new: str
) -> None:
    before = code_fingerprint(package)
    assert edited(package, name, old, new) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("ops/total_variation.py", ".abs_()", ".square_()"),
        ("utils/randomness.py", "seed", "sead"),
        ("execution/torch_setup.py", "= settings.tf32", "= True"),
    ],
)
def test_a_formula_changes_the_fingerprint(package: Path, name: str, old: str, new: str) -> None:
    before = code_fingerprint(package)
    assert edited(package, name, old, new) != before


def test_a_new_module_among_them_changes_the_fingerprint(package: Path) -> None:
    before = code_fingerprint(package)
    (package / "attacks" / "new.py").write_text("X = 1\n")
    code_fingerprint.cache_clear()
    assert code_fingerprint(package) != before


def imported(path: Path) -> Iterator[str]:
    """The modules of this package that a file imports, those of registries ("dia.module:name") included."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            parents = (
                [node.module]
                if any(module_file(f"{node.module}.{a.name}") is None for a in node.names)
                else []
            )
            names = [*parents, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
            names = [node.value.partition(":")[0]]
        yield from (name for name in names if name.startswith("dia.") and module_file(name))


def module_file(name: str) -> Path | None:
    """The file of a module or package of this package; None where there is none of that name."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def test_the_code_behind_the_numbers_imports_itself_and_carriers_only() -> None:
    numeric = set(numeric_files(PACKAGE))
    for path in numeric:
        for name in imported(path):
            if module_file(name) in numeric:
                continue
            carried = any(f"{name}.".startswith(f"{carrier}.") for carrier in CARRIERS)
            assert carried, f"{path} imports {name}: put it into NUMERIC, or among CARRIERS with a reason"


def test_every_entry_exists() -> None:
    for entry in NUMERIC:
        assert (PACKAGE / entry).exists(), f"{entry} was renamed: adapt NUMERIC"


def run(package: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Run lines of Python in a process that imports the copy of the package."""
    start = [
        "from pathlib import Path",
        "from dia.execution.code_version import PACKAGE, code_fingerprint, import_numeric_code",
        f"assert PACKAGE == Path({str(package)!r})",
        "def edit(name, text='X = 1'):",
        "    with (PACKAGE / name).open('a') as file: file.write(text + chr(10))",
        "before = code_fingerprint()",
    ]
    command = [sys.executable, "-c", "\n".join([*start, *lines])]
    return subprocess.run(
        command, cwd=package.parent, env={"PYTHONPATH": str(package.parent)}, capture_output=True, text=True
    )


def test_an_edit_while_the_code_is_imported_ends_the_process(package: Path) -> None:
    done = run(package, "edit('attacks/outcome.py')", "import_numeric_code()")
    assert "CodeChangedError" in done.stderr
    assert "was edited while this process imported it" in done.stderr
    assert "run it again" in done.stderr


def test_words_may_be_edited_at_any_time_and_code_once_it_is_imported(package: Path) -> None:
    lines = [
        "edit('reporting/curves.py'); edit('attacks/outcome.py', '# a comment')",
        "import_numeric_code()",
        "edit('attacks/outcome.py'); edit('evaluation/lpips.py', 'raise SystemExit(1)')",
        "import dia.evaluation.lpips",
        "assert code_fingerprint() == before",
    ]
    done = run(package, *lines)
    assert done.returncode == 0, done.stderr


def test_attack_and_train_take_the_fingerprint_before_they_import_such_code(package: Path) -> None:
    """Each verb's first imports, up to the fingerprint, bring none of it."""
    lines = [
        "import sys, dia.cli.attack, dia.cli.train, dia.execution.attempts, dia.execution.signals",
        "from dia.execution.code_version import numeric_files",
        "files = {str(path) for path in numeric_files(PACKAGE)}",
        "early = [m for m in list(sys.modules.values()) if getattr(m, '__file__', None) in files]",
        "assert not early, early",
    ]
    done = run(package, *lines)
    assert done.returncode == 0, done.stderr
