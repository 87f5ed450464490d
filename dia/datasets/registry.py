"""The sources of datasets: the keys that each takes, and the function that reads it.

Light to import, as the keys are: the reading functions, which bring heavy libraries, are loaded when they are called.
"""

import json
from typing import TYPE_CHECKING, Annotated, NamedTuple, Union, cast

from pydantic import BaseModel, Field

from dia.datasets.specs import DatasetBase, ImageDataset
from dia.errors import ConfigError
from dia.utils.lazy_import import load_object
from dia.utils.validation_errors import validate_model

if TYPE_CHECKING:
    from dia.datasets.source import ImageSource


class Source(NamedTuple):
    """Places of a source's parts, each ``module:name``.

    Attributes:
        keys: A subclass of ``DatasetBase`` with the keys.
        load: The function that takes one and reads the images; empty where there are none.
        victims: The class of its victim sets, made by ``make`` and read by ``load``.
    """

    keys: str
    load: str
    victims: str = "dia.datasets.victim_set:VictimSet"


SOURCES = {
    "torchvision-mnist": Source("dia.datasets.specs:TorchvisionMnist", "dia.datasets.mnist:load"),
    "torchvision-cifar10": Source("dia.datasets.specs:TorchvisionCifar10", "dia.datasets.cifar10:load"),
    "imagenet": Source("dia.datasets.specs:ImageNet", "dia.datasets.imagenet:load"),
    "bundled-mnist": Source("dia.datasets.specs:BundledMnist", "dia.datasets.bundled_mnist:load"),
    "bundled-photos": Source("dia.datasets.specs:BundledPhotos", "dia.datasets.bundled_photos:load"),
    "folder": Source("dia.datasets.specs:Folder", "dia.datasets.folder:load"),
    "file": Source("dia.datasets.specs:File", "dia.datasets.npz_file:load"),
    "received": Source(
        "dia.datasets.specs:Received",
        "",
        "dia.inversion.received_set:ReceivedSet",
    ),
}
"""Value of the key ``source`` of a dataset, which is also the literal type of that key in its model -> the source."""

if TYPE_CHECKING:
    DatasetSpec = DatasetBase
else:
    DatasetSpec = Annotated[
        Union[tuple(load_object(source.keys) for source in SOURCES.values())],  # noqa: UP007
        Field(discriminator="source"),
    ]
    """Any dataset definition; pydantic picks the model by ``source``."""


class _Named(BaseModel):
    """Dataset definitions by name, as the config has them, so that errors read the same."""

    datasets: dict[str, DatasetSpec]


def parse_dataset(definition: str, name: str) -> DatasetSpec:
    """Read a dataset definition from its JSON, as the workflow passes it to ``dia victims``.

    Args:
        definition: A JSON object.
        name: The dataset's name in the config.

    Raises:
        ConfigError: Not JSON, an unknown source or key, or a value out of range; all faults are listed.
    """
    try:
        mapping = json.loads(definition)
    except ValueError as error:
        raise ConfigError(f"the definition of dataset {name} is not JSON: {error}") from None
    return validate_model(_Named, {"datasets": {name: mapping}}, f"dataset {name}").datasets[name]


def load_source(spec: ImageDataset) -> "ImageSource":
    """Read the source of a definition.

    Raises:
        VictimError: It is missing or damaged.
    """
    return cast("ImageSource", load_object(SOURCES[spec.source].load)(spec))
