"""The keys that each source of a dataset takes in the config; :mod:`dia.datasets.registry` lists the sources.

Nothing heavier than pydantic is imported here, because the workflow validates its config with these models in
every job.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dia.utils.paths import PathText
from dia.utils.strict_model import StrictFloat

NormalisationName = Literal["mnist", "cifar10", "imagenet"]
Statistics = tuple[float, ...]

# Per-channel (mean, std) on [0, 1] pixels. MNIST and CIFAR-10: the constants of the paper authors' released
# code (their training sets); ImageNet: the usual ones of torchvision's model zoo.
NORMALISATIONS: dict[NormalisationName, tuple[Statistics, Statistics]] = {
    "mnist": ((0.13066373765468597,), (0.30810782313346863,)),
    "cifar10": (
        (0.4914672374725342, 0.4822617471218109, 0.4467701315879822),
        (0.24703224003314972, 0.24348513782024384, 0.26158785820007324),
    ),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

BUNDLED_DIGITS = 5000
"""Images that the source ``bundled-mnist`` has."""
BUNDLED_PHOTOGRAPHS = 8
"""Photographs that the source ``bundled-photos`` has, and so its smallest number of classes."""
MOST_CROPS = 4096
"""Crops of them at most."""

_Mean = Annotated[StrictFloat, Field(ge=0.0, le=1.0)]
_Std = Annotated[StrictFloat, Field(gt=0.0, le=1.0)]


def _normalisation(default: NormalisationName) -> Any:
    """The named statistics of a source: its default, or others for as many channels."""
    channels = len(NORMALISATIONS[default][0])
    others = [name for name, (mean, _) in NORMALISATIONS.items() if len(mean) == channels and name != default]
    names = " or ".join([f"{default} (default)", *others])
    return Field(default=default, description=f"Named per-channel statistics: {names}, or else mean and std.")


class DatasetBase(BaseModel):
    """Keys that every source has."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    source: str

    def files(self) -> list[str]:
        """The files that a victim set is made from, where a change of them is told by their times."""
        return []


class ImageDataset(DatasetBase):
    """Keys of every source of images: how many, and how an attack normalises them."""

    # Colour channels of the source's images; None where only the file tells.
    channels: ClassVar[int | None] = None
    # The value of the key `split` that holds the source's test images; None where it has no split of its own.
    test_split: ClassVar[str | None] = None

    images: int = Field(
        default=128,
        ge=1,
        le=100_000,
        strict=True,
        description="Number of images in the victim set, balanced over the classes. At least 1.",
    )
    normalisation: NormalisationName | None = Field(
        default=None,
        description="Named per-channel mean and std applied to [0, 1] pixels before the model: mnist "
        "(1 channel), cifar10 or imagenet (3 channels). Give either this or mean and std.",
    )
    mean: tuple[_Mean, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="Mean of each channel on [0, 1] pixels, each in [0, 1]; with std, without normalisation.",
    )
    std: tuple[_Std, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="Standard deviation of each channel on [0, 1] pixels, each in (0, 1]; with mean.",
    )

    @model_validator(mode="before")
    @classmethod
    def _own_statistics_replace_the_default(cls, data: Any) -> Any:
        """A source's default normalisation steps aside when the config gives mean or std itself."""
        if isinstance(data, dict) and "normalisation" not in data:
            given = data.get("mean") is not None or data.get("std") is not None
            return {**data, "normalisation": None} if given else data
        return data

    @model_validator(mode="after")
    def _one_normalisation(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together: give both, or a normalisation by name")
        if self.mean is not None and self.normalisation is not None:
            raise ValueError(f"normalisation {self.normalisation!r} and mean/std are both given: keep one")
        if self.mean is None and self.normalisation is None:
            raise ValueError(
                f"no normalisation: give one of {', '.join(NORMALISATIONS)} by name, or mean and std"
            )
        mean, std = self.mean_std
        if len(mean) != len(std):
            raise ValueError(f"mean has {len(mean)} channels and std {len(std)}: they must agree")
        if self.channels is not None and len(mean) != self.channels:
            raise ValueError(
                f"the normalisation is for {len(mean)} channel(s), "
                f"the images of this source have {self.channels}"
            )
        return self

    def all_images(self) -> Self:
        """The definition that offers as many images as the source has; `images` says how many become victims."""
        return self

    @property
    def mean_std(self) -> tuple[Statistics, Statistics]:
        """Mean and standard deviation, one number per channel, on [0, 1] pixels."""
        if self.mean is not None and self.std is not None:
            return self.mean, self.std
        assert self.normalisation is not None  # the validator saw to it
        return NORMALISATIONS[self.normalisation]


class _Torchvision(ImageDataset):
    test_split: ClassVar[str | None] = "test"

    root: PathText = Field(
        description="Folder that holds torchvision's copy of the dataset, or receives it when download is "
        "true. Relative to the working directory of the workflow.",
    )
    download: bool = Field(
        default=False,
        strict=True,
        description="true: download the dataset into root when it is not there yet; false: it must be there.",
    )
    split: Literal["train", "test"] = Field(
        default="train", description="Part of the dataset that the victims are taken from: train or test."
    )


class TorchvisionMnist(_Torchvision):
    """MNIST, 28x28 grey, 10 classes, from torchvision's files."""

    channels: ClassVar[int | None] = 1

    source: Literal["torchvision-mnist"] = Field(description="MNIST through torchvision.")
    normalisation: NormalisationName | None = _normalisation("mnist")


class TorchvisionCifar10(_Torchvision):
    """CIFAR-10, 32x32 colour, 10 classes, from torchvision's files."""

    channels: ClassVar[int | None] = 3

    source: Literal["torchvision-cifar10"] = Field(description="CIFAR-10 through torchvision.")
    normalisation: NormalisationName | None = _normalisation("cifar10")


class ImageNet(ImageDataset):
    """ImageNet, or any folder of class folders, prepared as usual: shorter side resized, centre cropped."""

    channels: ClassVar[int | None] = 3
    test_split: ClassVar[str | None] = "val"

    source: Literal["imagenet"] = Field(
        description="ImageNet (ILSVRC) as a folder of class folders, as torchvision's ImageFolder reads it."
    )
    root: PathText = Field(
        description="Folder that holds train/ and val/, or ILSVRC/Data/CLS-LOC/train and val, or else the class "
        "folders themselves. Relative to the working directory of the workflow.",
    )
    split: Literal["train", "val"] = Field(
        default="train",
        description="Part that the victims are taken from, where root has both: train or val.",
    )
    resize: int = Field(
        default=256,
        ge=16,
        le=4096,
        strict=True,
        description="Pixels that the shorter side is resized to, at least size. 16 to 4096; usually 256.",
    )
    size: int = Field(
        default=224,
        ge=16,
        le=1024,
        strict=True,
        description="Height and width of the centre crop in pixels, 16 to 1024; usually 224.",
    )
    num_classes: int = Field(
        default=1000,
        ge=2,
        le=100_000,
        strict=True,
        description="Outputs of the model, at least the number of class folders. ImageNet: 1000 (the default).",
    )
    normalisation: NormalisationName | None = _normalisation("imagenet")

    @model_validator(mode="after")
    def _crop_fits(self) -> "ImageNet":
        if self.size > self.resize:
            raise ValueError(f"size {self.size} is larger than resize {self.resize}: the crop would not fit")
        return self


class BundledMnist(ImageDataset):
    """5,000 real MNIST digits that come with this package; no network."""

    channels: ClassVar[int | None] = 1

    source: Literal["bundled-mnist"] = Field(
        description="5,000 MNIST digits that come with this package (offline)."
    )
    images: int = Field(
        default=128,
        ge=1,
        le=BUNDLED_DIGITS,
        strict=True,
        description="Number of images in the victim set, balanced over the ten digits. 1 to 5000.",
    )
    normalisation: NormalisationName | None = _normalisation("mnist")


class BundledPhotos(ImageDataset):
    """Crops of eight colour photographs that come with this package; an offline stand-in for natural images."""

    channels: ClassVar[int | None] = 3

    source: Literal["bundled-photos"] = Field(
        description="Deterministic crops of the bundled colour photographs; the label of a crop "
        "is the number of its photograph (offline)."
    )
    images: int = Field(
        default=128,
        ge=1,
        le=MOST_CROPS,
        strict=True,
        description="Number of crops in the victim set, balanced over the photographs. 1 to 4096.",
    )
    size: int = Field(
        default=32,
        ge=16,
        le=256,
        strict=True,
        description="Height and width of a crop in pixels, 16 to 256; usually 32 or 224.",
    )
    num_classes: int = Field(
        default=BUNDLED_PHOTOGRAPHS,
        ge=BUNDLED_PHOTOGRAPHS,
        le=100_000,
        strict=True,
        description="Classes of the model's output: at least 8, one per photograph (the default); "
        "1000 gives a model the size it has on ImageNet.",
    )
    normalisation: NormalisationName | None = _normalisation("imagenet")

    def all_images(self) -> Self:
        """The definition with as many crops as there may be."""
        return self.model_copy(update={"images": MOST_CROPS})


class Folder(ImageDataset):
    """Your own image files in class folders, in their own size, which must be one; the classes are counted."""

    source: Literal["folder"] = Field(description="A folder of class folders, one image per file.")
    root: PathText = Field(
        description="Folder that holds one folder per class; folders inside a class folder belong to the class. "
        "Relative to the working directory of the workflow.",
    )
    num_classes: int | None = Field(
        default=None,
        ge=2,
        le=100_000,
        strict=True,
        description="Outputs of the model, at least the number of class folders. At least 2; null: that number.",
    )


class File(ImageDataset):
    """Your own images in an .npz with arrays `images` (uint8, NHWC or NHW) and `labels`."""

    source: Literal["file"] = Field(description="An .npz file with the arrays images and labels.")
    path: PathText = Field(
        description="The .npz: images uint8 (n, H, W, C) or (n, H, W), labels integers (n,). "
        "Relative to the working directory of the workflow.",
    )
    num_classes: int = Field(
        ge=2,
        le=100_000,
        strict=True,
        description="Number of classes of the dataset, at least 2; labels are 0 to num_classes - 1. "
        "A file may hold only some of the classes, so it cannot tell.",
    )

    def files(self) -> list[str]:
        return [self.path]


class Received(DatasetBase):
    """The updates that real clients sent, one victim per file: [docs/invert.md](../docs/invert.md#many-clients)."""

    source: Literal["received"] = Field(description="A folder of the updates that real clients sent.")
    updates: PathText = Field(
        description="Folder with one update per client: every .safetensors, .npz, .pt and .pth in it, by name. "
        "Relative to the working directory of the workflow.",
    )
    before: PathText = Field(
        description="File with the weights that the server sent to all of these clients."
    )
    settings: PathText = Field(
        description="YAML file that describes the clients, as dia invert takes it. Its attack and twin do not count "
        "here.",
    )
    originals: PathText | None = Field(
        None,
        description="Folder with the private images of some of the clients, NAME.npz beside the update NAME.*, array "
        "images (N, C, H, W); their victims are scored. null: nobody has them.",
    )
    updates_per_cell: int = Field(
        default=16,
        ge=1,
        strict=True,
        description="Victims of a cell. The dataset is split into as many, NAME-000, NAME-001, ...; at least 1.",
    )
    contents: dict[str, Any] | None = Field(
        None,
        description="Filled in when the config is read, for each of the parts: the description of the clients, and "
        "the SHA-256 of every file.",
    )
