"""The analytic attack on a ResNet: the stem's inversion on planted features, and a whole cell."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from helpers.structured_problems import CLASSES, build_problem, without
from torch import Tensor, nn

from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.resnet import ResNetSolver, largest_in_box
from dia.attacks.analytic.stem_inversion import Stem, StemInversion
from dia.attacks.problem import Problem
from dia.datasets.registry import parse_dataset
from dia.datasets.victim_selection import make_victims
from dia.execution.run_cell import run_cell
from dia.gradients.batched import BatchedGradientEngine
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.settings.scenario import Settings
from dia.utils.torchvision_compat import import_torchvision

import_torchvision()
from torchvision.models.resnet import BasicBlock  # noqa: E402

SPEC = parse_dataset('{"source": "bundled-mnist", "images": 4}', "mnist")


def job(**settings: int | str) -> AttackJob:
    cell = Cell("default", "mnist", "resnet18", "0.5", "analytic", 0)
    return AttackJob.from_config(cell, Settings(victims=1, **settings), SPEC.model_dump(mode="json"))  # type: ignore[arg-type]


class Small(nn.Module):
    """A ResNet that is quick, with torchvision's names."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        norm = partial(nn.GroupNorm, 2)
        self.conv1 = nn.Conv2d(1, 24, 5, stride=2, padding=2, bias=False)
        self.bn1, self.relu, self.maxpool = norm(24), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(24, 24, norm_layer=norm), BasicBlock(24, 24, norm_layer=norm))
        shrink = nn.Sequential(nn.Conv2d(24, 32, 1, stride=2, bias=False), norm(32))
        self.layer2 = nn.Sequential(BasicBlock(24, 32, 2, shrink, norm_layer=norm))
        self.layer3 = nn.Sequential(BasicBlock(32, 32, norm_layer=norm))
        self.layer4 = nn.Sequential(BasicBlock(32, 32, norm_layer=norm))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Dropout(p), nn.Linear(32, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def solver(problem: Problem) -> ResNetSolver:
    assert isinstance(problem.model, BatchedGradientEngine)
    return ResNetSolver(problem, problem.model)


def cosine(x: Tensor, y: Tensor) -> float:
    return float(F.cosine_similarity(x.double().flatten(), y.double().flatten(), dim=0))


def digit() -> Tensor:
    """(1, 20, 20), smooth, with a dark background."""
    y, x = torch.meshgrid(torch.linspace(-2, 2, 20), torch.linspace(-2, 2, 20), indexing="ij")
    ring = torch.exp(-4 * ((x**2 + 2 * y**2).sqrt() - 1.2).square())
    return (2 * ring - 0.4 + 0.3 * x * (y > 0.5)).double()[None]


def test_the_stem_is_inverted_up_to_the_image_s_scale() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 48, 5, stride=2, padding=2, bias=False).double()
    norm, pool = nn.GroupNorm(2, 48).double(), nn.MaxPool2d(3, stride=2, padding=1)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(48) + 0.5)
        norm.bias.copy_(0.3 * torch.randn(48))
    x = digit()
    features = pool(norm(conv(x[None])).relu())
    deltas = torch.randn_like(features)
    loss = (features * deltas).sum()
    weight, gain, shift = torch.autograd.grad(loss, (conv.weight, norm.weight, norm.bias))
    stem = Stem(conv, norm, pool, features[0].detach(), deltas[0], weight, gain, shift, (1, 20, 20))
    inversion = StemInversion(stem, torch.float64)
    y = inversion._gather(norm(conv(x[None]))[0].flatten(1)).masked_fill(inversion.windows < 0, -torch.inf)
    largest = F.one_hot(y.argmax(1), len(inversion.windows)).transpose(1, 2).bool()
    positive = (features > 0).flatten(2)[0, :, None]
    assert bool(
        (inversion.candidate | ~(largest & positive)).all()
    )  # the largest is always among the candidates
    assert cosine(inversion.solve(), x) > 0.999


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_features_and_masks_are_exact(p: float) -> None:
    problem, x = build_problem(lambda: Small(p), shape=(1, 16, 16), victims=3)
    found = solver(problem)
    for victim in range(3):
        stages = found.stages(victim)
        features = found.stem(x[victim].double())[0]
        assert float((stages.features - features).norm() / features.norm()) < 1e-3
        assert stages.error < 1e-3
        for mask in problem.client_masks:
            assert not bool((stages.kept & (mask[victim, 0] == 0)).any())


def test_cells_of_resnet18_are_solved_up_to_the_scale_of_the_image() -> None:
    (row,) = run_cell(job(), make_victims(SPEC, "mnist"), device="cpu", threads=1, victims_per_chunk=None)
    assert row["stop_reason"] == "approximate"
    assert row["claimed_fraction"] == 0
    assert row["ssim"] > 0.9
    assert row["mask_accuracy"] == 1


def test_the_largest_image_fills_the_box() -> None:
    x = torch.tensor([0.5, -0.2, 0.1] * 500, dtype=torch.float64).view(1, 30, 50)
    low, high = torch.tensor(-1.0).double(), torch.tensor(2.0).double()
    assert torch.allclose(largest_in_box(x, low, high), 4 * x)


REFUSED = {
    "batch": (dict(images=2), (), "batches of a ResNet"),
    "frozen stem": ({}, ("conv1.weight",), "conv1.weight was not sent"),
    "large image": (dict(shape=(1, 24, 24)), (), "36 positions for 24 channels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_resnet_does_not_give_away_is_refused(name: str) -> None:
    how, frozen, reason = REFUSED[name]
    problem, _ = build_problem(Small, victims=1, **{"shape": (1, 16, 16), **how})  # type: ignore[arg-type]
    with pytest.raises(NotApplicable, match=reason):
        solver(without(problem, *frozen))


def test_masks_between_the_stages_are_not_read() -> None:
    def dropping() -> nn.Module:
        model = Small()
        model.layer2.append(nn.Dropout(0.5))
        return model

    with pytest.raises(NotApplicable, match="masks between the stages"):
        solver(build_problem(dropping, victims=1, shape=(1, 16, 16))[0])
