"""torchvision imports beside whichever torch is installed; other failures of its import are not hidden."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

from dia.utils import torchvision_compat


def test_datasets_transforms_models_and_torchmetrics_work() -> None:
    """In a fresh process, so that nothing has imported torchvision before."""
    code = """
from dia.utils.torchvision_compat import import_torchvision
vision = import_torchvision()
assert import_torchvision() is vision
import torch, torchmetrics
from torchvision import datasets
from torchvision.models import resnet18
from torchvision.transforms import v2
assert v2.Resize(8)(torch.rand(3, 16, 16)).shape == (3, 8, 8)
assert resnet18(weights=None).fc.out_features == 1000
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_is_declared_when_the_import_works(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torchvision")
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    monkeypatch.setattr(torchvision_compat, "_declared", [])
    assert torchvision_compat.import_torchvision() is module
    assert torchvision_compat._declared == []


@pytest.mark.parametrize(
    "error", [RuntimeError("operator torchvision::roi_align does not exist"), ImportError("no")]
)
def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(name: str) -> ModuleType:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    monkeypatch.setattr(torchvision_compat, "_declared", [])
    with pytest.raises(type(error), match=str(error)):
        torchvision_compat.import_torchvision()
    assert torchvision_compat._declared == []


def test_the_error_is_not_met_with_a_second_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> ModuleType:
        raise RuntimeError(torchvision_compat.MISSING_OPERATOR)

    monkeypatch.setattr(importlib, "import_module", fail)
    monkeypatch.setattr(torchvision_compat, "_declared", [object()])
    with pytest.raises(RuntimeError, match="torchvision::nms"):
        torchvision_compat.import_torchvision()
