"""The Slurm of the tests: what a killed run left behind is taken down; what belongs to others stays."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parents[2] / "slurm" / "cluster.py"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tests/slurm/cluster.py with another /etc/slurm."""
    spec = importlib.util.spec_from_file_location("slurm_cluster", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    system = tmp_path / "etc"
    system.mkdir()
    monkeypatch.setattr(module, "SYSTEM", system)
    return module


def linked(cluster: ModuleType, folder: Path) -> list[Path]:
    """A folder to which the configs of the system link."""
    folder.mkdir()
    links = []
    for name in cluster.CONFIGS:
        (folder / name).touch()
        links.append(cluster.SYSTEM / name)
        links[-1].symlink_to(folder / name)
    return links


def test_a_killed_runs_folder_and_links_are_removed(cluster: ModuleType, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = tmp_path / f"dia-slurm-{ended.pid}"
    links = linked(cluster, folder)
    cluster.clear_leftovers()
    assert not folder.exists() and not any(link.is_symlink() for link in links)


def test_links_into_a_folder_that_is_gone_are_removed(cluster: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "dia-slurm-999999999"
    links = linked(cluster, folder)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    cluster.clear_leftovers()
    assert not any(link.is_symlink() for link in links)


def test_a_run_that_goes_on_keeps_its_cluster(cluster: ModuleType, tmp_path: Path) -> None:
    waits = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "pytest"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        run.stdout.readline()  # its command line can be read only once it runs
        links = linked(cluster, tmp_path / f"dia-slurm-{run.pid}")
        with pytest.raises(cluster.ClusterError, match=f"the test run {run.pid} has its Slurm"):
            cluster.clear_leftovers()
        assert all(link.exists() for link in links)


def test_a_slurm_of_somebody_else_stays(cluster: ModuleType, tmp_path: Path) -> None:
    links = linked(cluster, tmp_path / "site")
    cluster.clear_leftovers()
    assert all(link.exists() for link in links)
    with pytest.raises(cluster.ClusterError, match="this machine has a Slurm of its own"):
        cluster._link(tmp_path / "mine")
