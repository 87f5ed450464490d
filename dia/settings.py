"""The settings of a scenario: everything but the axes that determines a cell's numbers.

Each key is a column of the result rows, and changing one reruns the cells that use it. The defaults are
those of the paper and of its authors' released code.
"""

from typing import Literal

from pydantic import Field

from dia.closed import Closed, Count, Flag
from dia.defences.settings import DefenceSettings
from dia.federated import FederatedSettings, TrainingSettings
from dia.knowledge import KnowledgeSettings

SITE_LIST = r"^[A-Za-z0-9_.]+(\+[A-Za-z0-9_.]+)*$"

__all__ = ["Closed", "Count", "Flag", "Settings"]


class Settings(KnowledgeSettings, DefenceSettings, FederatedSettings, TrainingSettings):
    """Resolved settings of one cell: a flat record, one column of the results each."""

    victims: Count = Field(
        128,
        ge=1,
        description="Number of victims (private batches) attacked per cell. At least 1; paper: 128.",
    )
    batch_size: Count = Field(
        1, ge=1, description="Images in a victim's private batch, N. At least 1; paper: 1."
    )
    precision: Literal["float32", "float64"] = Field(
        "float32",
        description="Floating-point type of client and attack: float32, or float64 for exact comparisons.",
    )
    tf32: Flag = Field(
        False,
        description="Allow TensorFloat-32 products on CUDA: faster, about 3 decimal digits. true or false.",
    )
    max_iterations: Count = Field(
        20_000, ge=1, description="Most iterations of one attack. At least 1; paper: 20000."
    )
    learning_rate: float = Field(
        0.1, gt=0, description="Learning rate of Adam over image and masks. Above 0; paper: 0.1."
    )
    plateau_factor: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Factor on the learning rate when the loss stops falling. In (0, 1); paper: 0.1.",
    )
    plateau_patience: Count = Field(
        800,
        ge=0,
        description="Iterations without improvement before the factor applies. At least 0; paper: 800.",
    )
    early_stop_patience: Count = Field(
        4_000,
        ge=1,
        description="Iterations without improvement before a victim stops. At least 1; paper: 4000.",
    )
    stop_loss: float = Field(
        1e-5,
        ge=0,
        description="A victim stops when its best total loss is below this. At least 0; paper: 0.00001.",
    )
    tv_weight: float = Field(
        1e-5,
        ge=0,
        description="Weight of the image's total variation in the loss. At least 0; paper: 0.00001.",
    )
    mask_penalty: float = Field(
        1e-4,
        ge=0,
        description="Weight of the distance between a mask's dropped fraction and p (dia only). At least 0; "
        "paper: 0.0001.",
    )
    dropout_sites: str = Field(
        "default",
        pattern=SITE_LIST,
        description="Where the model drops: default (as in the paper), all, or sites joined by +. mlp: activations; "
        "lenet: convolutions, head (default: head); resnet18: stages, head (default: head); vit, vit_b16: positions, "
        "attention, projection, hidden, output. Of an own model: names of modules (default: all its dropout).",
    )
    signed_gradients: Flag = Field(
        True,
        description="Replace the image's gradient by its sign before each step; mask gradients never are. "
        "true or false; paper: true.",
    )
    restarts: Count = Field(
        1,
        ge=1,
        description="Random starts of each attack (image and masks); the one with the smallest matching "
        "distance is kept. At least 1; paper: 1.",
    )
    mask_init: Literal["bernoulli", "ones", "p", "uniform"] = Field(
        "bernoulli",
        description="Where masks start (dia only): bernoulli (a draw as the client's), ones (nothing dropped), "
        "p (every entry at its probability of being kept, 1 - p), uniform (in [0, 1]). Paper: bernoulli.",
    )
    mask_parametrisation: Literal["clipped", "sigmoid"] = Field(
        "clipped",
        description="What is optimised for a mask (dia only): clipped (its entries, clipped to [0, 1] after "
        "each step) or sigmoid (their logits). Paper: clipped.",
    )
    success_ssim: float = Field(
        0.6, ge=-1, le=1, description="An image counts as recovered from this SSIM on. In [-1, 1]."
    )
    lpips_network: Literal["none", "alex", "vgg", "squeeze"] = Field(
        "none",
        description="Network of LPIPS, a perceptual distance reported beside SSIM: alex, vgg, squeeze (their weights "
        "must be on the machine, nothing is fetched) or none.",
    )
    history_points: Count = Field(
        100, ge=2, le=10_000, description="Points kept of each victim's loss curves. 2 to 10000."
    )
