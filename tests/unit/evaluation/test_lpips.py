"""LPIPS: by torchmetrics where the weights are there, refused with a reason where they are not."""

from pathlib import Path

import pytest
import torch

from dia.errors import AttackError
from dia.evaluation.lpips import check_weights, lpips, weights_file
from dia.utils.torchvision_compat import import_torchvision


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


def with_weights() -> None:
    """Put made-up weights where torchvision looks for AlexNet's."""
    torch.manual_seed(0)
    path = weights_file("alex")
    path.parent.mkdir(parents=True)
    torch.save(import_torchvision().models.alexnet(weights=None).state_dict(), path)


def test_missing_weights_are_explained_and_not_fetched(hub: Path) -> None:
    with pytest.raises(
        AttackError,
        match=r"lpips_network is 'alex'.*put torchvision's alexnet-owt-7be5be79\.pth ",
    ):
        lpips(torch.zeros(1, 1, 3, 64, 64), torch.zeros(1, 1, 3, 64, 64), "alex")
    for network in ("vgg", "squeeze"):
        with pytest.raises(AttackError, match="nothing is fetched without being asked"):
            check_weights(network)
    check_weights("none")
    assert not list(hub.rglob("*.pth"))


def test_pairs_are_scored_as_torchmetrics_does(hub: Path) -> None:
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity as oracle

    with_weights()
    torch.manual_seed(1)
    a, b = torch.rand(2, 2, 3, 64, 64), torch.rand(2, 2, 3, 64, 64)
    found = lpips(a, b, "alex")
    assert found.shape == (2, 2)
    for v in range(2):
        for n in range(2):
            wanted = oracle(a[v, n : n + 1], b[v, n : n + 1], net_type="alex", normalize=True)
            torch.testing.assert_close(found[v, n], wanted.double())
    assert lpips(a, a, "alex").abs().max() == 0


def test_small_grey_images_are_enlarged(hub: Path) -> None:
    with_weights()
    grey = torch.rand(1, 1, 1, 28, 28)
    colour = grey.expand(-1, -1, 3, -1, -1)
    other = torch.zeros_like(grey)
    torch.testing.assert_close(lpips(grey, other, "alex"), lpips(colour, other.expand_as(colour), "alex"))
    assert lpips(grey, other, "alex") > 0
