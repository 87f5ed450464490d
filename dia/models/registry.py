"""Built-in architectures by name. Light to import: the config checks names and dropout sites with it.

A new architecture is a file with a factory ``(shape, num_classes, p) -> nn.Module`` and an entry here.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """An architecture that is imported when a model of it is built.

    Attributes:
        factory: Its factory, ``module:name`` (see :func:`dia.utils.lazy_import.load_object`).
        sites: Name of each place where it can drop -> regular expression of the names of its dropout modules there.
        default_sites: What the setting ``dropout_sites: default`` stands for: ``all``, or names joined by ``+``.
    """

    factory: str
    sites: Mapping[str, str]
    default_sites: str = "all"


_VIT_SITES = {
    "positions": r"dropout",
    "attention": r".*\.mixing\.dropout",
    "projection": r".*\.to_out\.1",
    "hidden": r".*\.net\.2",
    "output": r".*\.net\.4",
}

MODELS: dict[str, Architecture] = {
    "mlp": Architecture("dia.models.mlp:MLP", {"activations": r"layers\.\d+\.dropout"}),
    "lenet": Architecture(
        "dia.models.lenet:LeNet", {"convolutions": r"features\.\d+", "head": r"dropout"}, "head"
    ),
    "resnet18": Architecture(
        "dia.models.resnet18:resnet18", {"stages": r"layer\d\.\d+", "head": r"fc\.0"}, "head"
    ),
    "vit": Architecture("dia.models.vit:ViT", _VIT_SITES),
    "vit_b16": Architecture("dia.models.vit_b16:vit_b16", _VIT_SITES),
}
