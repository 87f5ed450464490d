"""The architectures at their own size against the oracle, their shapes, sites and parameter counts."""

from collections.abc import Callable

import pytest
import torch
from helpers.layer_cases import CLASSES
from test_gradients import compare
from torch import nn

from dia.errors import ModelError
from dia.models.build import build_model
from dia.models.dropout import dropout_sites
from dia.models.randomness_check import check_no_hidden_randomness
from dia.models.registry import MODELS
from dia.utils.lazy_import import load_object

MNIST, CIFAR10 = (1, 28, 28), (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "shape", "sites", "victims", "images"),
    [
        ("lenet", MNIST, "default", 2, 1),
        ("lenet", MNIST, "all", 1, 3),
        ("lenet", CIFAR10, "default", 1, 3),
        ("lenet", CIFAR10, "all", 2, 1),
        ("resnet18", (1, 13, 11), "default", 2, 1),
        ("resnet18", (3, 12, 12), "all", 1, 2),
    ],
)
def test_gradients_are_those_of_double_backward(
    name: str, shape: tuple[int, int, int], sites: str, victims: int, images: int
) -> None:
    model = build_model(name, shape, CLASSES, 0.3, seed=0, sites=sites).double()
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):  # ones and zeros would test nothing
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    engine = compare(model, shape, victims, images)
    assert engine.per_victim_parameters == []


def test_every_architecture_has_a_factory_and_its_default_sites() -> None:
    for architecture in MODELS.values():
        assert callable(load_object(architecture.factory))
        assert set(architecture.default_sites.split("+")) <= {"all", *architecture.sites}


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters"),
    [
        ("mlp", MNIST, 10, 512 * (28 * 28 + 2 * 512 + 10)),
        ("lenet", CIFAR10, 10, 16 * (3 * 25 + 1) + 32 * (16 * 25 + 1) + 64 * (32 * 25 + 1) + 10 * 65),
        ("lenet", MNIST, 10, 16 * (25 + 1) + 32 * (16 * 25 + 1) + 64 * (32 * 25 + 1) + 10 * 65),
        ("lenet", (3, 224, 224), 1000, 76 * 16 + 401 * 32 + 801 * 64 + 1000 * (64 * 25 * 25 + 1)),
        ("resnet18", (3, 224, 224), 1000, 11_689_512),  # torchvision's own count, GroupNorm or BatchNorm
        # ViT-B/16 has 86,567,656; without the biases of queries, keys and values.
        ("vit_b16", (3, 224, 224), 1000, 86_567_656 - 12 * 3 * 768),
    ],
)
def test_size(name: str, shape: tuple[int, int, int], classes: int, parameters: int) -> None:
    model = build_model(name, shape, classes, 0.5, seed=0)
    assert sum(p.numel() for p in model.parameters()) == parameters


SHAPES: list[tuple[str, tuple[int, int, int], str, list[tuple[int, ...]]]] = [
    ("mlp", MNIST, "default", [(512,)] * 3),
    ("lenet", MNIST, "default", [(64,)]),
    ("lenet", MNIST, "convolutions", [(16, 14, 14), (32, 5, 5), (64, 1, 1)]),
    ("lenet", CIFAR10, "head", [(64,)]),
    ("lenet", CIFAR10, "convolutions+head", [(16, 14, 14), (32, 5, 5), (64, 1, 1), (64,)]),
    ("resnet18", CIFAR10, "default", [(512,)]),
    ("resnet18", CIFAR10, "stages", [(64, 8, 8), (128, 4, 4), (256, 2, 2), (512, 1, 1)]),
    ("vit", CIFAR10, "positions", [(65, 256)]),
    ("vit", CIFAR10, "attention", [(16, 65, 65)] * 4),
    ("vit", CIFAR10, "hidden+projection", [(65, 256)] * 8),
    ("vit", CIFAR10, "default", [(65, 256), *[(16, 65, 65), *[(65, 256)] * 3] * 4]),
]


@pytest.mark.parametrize(("name", "shape", "sites", "expected"), SHAPES)
def test_masks_of_the_chosen_sites(
    name: str, shape: tuple[int, int, int], sites: str, expected: list[tuple[int, ...]]
) -> None:
    model = build_model(name, shape, 10, 0.25, seed=0, sites=sites)
    found = dropout_sites(model, torch.zeros(1, *shape))
    assert [site.shape for site in found] == expected
    assert {site.rate for site in found} == {0.25}


@pytest.mark.parametrize("name", ["lenet", "resnet18", "vit"])
def test_sites_and_rate_leave_the_weights_alone(name: str) -> None:
    one = build_model(name, CIFAR10, 10, 0.0, seed=3).state_dict()
    other = build_model(name, CIFAR10, 10, 0.5, seed=3, sites="all").state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_lenet_pads_small_images_as_one_pads_them_by_hand() -> None:
    model = build_model("lenet", MNIST, 10, 0.5, seed=0).eval()
    x = torch.randn(2, *MNIST, generator=torch.Generator().manual_seed(0))
    model_32 = build_model("lenet", (1, 32, 32), 10, 0.5, seed=0).eval()
    assert torch.allclose(model(x), model_32(nn.functional.pad(x, (2, 2, 2, 2))), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build_model("lenet", (1, 24, 40), 10, 0.5, 0), "at least 25 pixels each way, not 24 x 40"),
        (
            lambda: build_model("lenet", MNIST, 10, 0.5, 0, sites="heads"),
            "site of lenet 'heads'; did you mean 'head'",
        ),
        (
            lambda: build_model("resnet", MNIST, 10, 0.5, 0),
            "unknown model 'resnet'; known: mlp, lenet, resnet18",
        ),
    ],
)
def test_refusals(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["mlp", "lenet", "resnet18", "vit"])
def test_nothing_random_is_hidden(name: str) -> None:
    check_no_hidden_randomness(build_model(name, CIFAR10, 10, 0.5, 0, sites="all"), name, CIFAR10, 10)
