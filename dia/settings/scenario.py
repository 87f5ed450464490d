"""The settings of a scenario: everything but the axes that determines a cell's numbers.

Each key is a column of the result rows, and changing one reruns the cells that use it. The defaults are
those of the paper and of its authors' released code.
"""

from typing import Literal

from pydantic import Field

from dia.settings.defences import DefenceSettings
from dia.settings.federated import FederatedSettings, TrainingSettings
from dia.settings.optimisation import SearchSettings
from dia.settings.threat_model import KnowledgeSettings
from dia.utils.strict_model import StrictBool, StrictFloat, StrictInt

SITE_LIST = r"^[A-Za-z0-9_.]+(\+[A-Za-z0-9_.]+)*$"


class Settings(SearchSettings, KnowledgeSettings, DefenceSettings, FederatedSettings, TrainingSettings):
    """Resolved settings of one cell: a flat record, one column of the results each."""

    victims: StrictInt = Field(
        128,
        ge=1,
        description="Number of victims (private batches) attacked per cell. At least 1; paper: 128.",
    )
    batch_size: StrictInt = Field(
        1, ge=1, description="Images in a victim's private batch, N. At least 1; paper: 1."
    )
    precision: Literal["float32", "float64"] = Field(
        "float32",
        description="Floating-point type of client and attack: float32, or float64 for exact comparisons.",
    )
    tf32: StrictBool = Field(
        False,
        description="Allow TensorFloat-32 products on CUDA: faster, about 3 decimal digits. true or false.",
    )
    dropout_sites: str = Field(
        "default",
        pattern=SITE_LIST,
        description="Where the model drops: default (as in the paper), all, or sites joined by +. mlp: activations; "
        "lenet: convolutions, head (default: head); resnet18: stages, head (default: head); vit, vit_b16: positions, "
        "attention, projection, hidden, output. Of an own model: names of modules (default: all its dropout).",
    )
    success_min_ssim: StrictFloat = Field(
        0.6, ge=-1, le=1, description="An image counts as recovered from this SSIM on. In [-1, 1]."
    )
    lpips_network: Literal["none", "alex", "vgg", "squeeze"] = Field(
        "none",
        description="Network of LPIPS, a perceptual distance reported beside SSIM: alex, vgg, squeeze (their weights "
        "must be on the machine, nothing is fetched) or none.",
    )
    history_points: StrictInt = Field(
        100, ge=2, le=10_000, description="Points kept of each victim's loss curves. 2 to 10000."
    )
