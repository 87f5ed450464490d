"""Settings of iterative attacks: the recipe of the paper, and what may improve on it.

The defaults are the paper's, as far as they could be read from its authors' released code. Others say that they are
ours; ``config/studies/stronger_dia.yaml`` measures each.
"""

from typing import Annotated, Literal

from pydantic import Field

from dia.utils.strict_model import StrictBool, StrictFloat, StrictInt, StrictModel

CosineEpsilon = Literal["absolute", "relative"]


class SearchSettings(StrictModel):
    """Objective, optimiser, start and stop of an iterative attack."""

    max_iterations: StrictInt = Field(
        20_000, ge=1, description="Most iterations of one attack. At least 1; paper: 20000."
    )
    learning_rate: StrictFloat = Field(
        0.1, gt=0, description="Learning rate of Adam over image and masks. Above 0; paper: 0.1."
    )
    mask_learning_rate: Annotated[StrictFloat, Field(gt=0)] | None = Field(
        None,
        description="Learning rate of the masks (dia only); null: that of the image, as in the paper. Above 0.",
    )
    learning_rate_schedule: Literal["plateau", "cosine"] = Field(
        "plateau",
        description="plateau (falls when the loss stops falling, as in the paper) or cosine (falls from learning_rate "
        "to final_learning_rate over max_iterations).",
    )
    final_learning_rate: StrictFloat = Field(
        1e-4, gt=0, description="Where the schedule cosine ends. Above 0."
    )
    plateau_factor: StrictFloat = Field(
        0.1,
        gt=0,
        lt=1,
        description="Factor on the learning rate when the loss stops falling. In (0, 1); paper: 0.1.",
    )
    plateau_patience: StrictInt = Field(
        800,
        ge=0,
        description="Iterations without improvement before the factor applies. At least 0; paper: 800.",
    )
    early_stop_patience: StrictInt = Field(
        4_000,
        ge=1,
        description="Iterations without improvement before a victim stops. At least 1; paper: 4000.",
    )
    loss_tolerance: StrictFloat = Field(
        1e-5,
        ge=0,
        description="A victim stops when its best total loss is below this. At least 0; paper: 0.00001.",
    )
    tv_weight: StrictFloat = Field(
        1e-5,
        ge=0,
        description="Weight of the image's total variation in the loss. At least 0; paper: 0.00001.",
    )
    tv_initial_factor: StrictFloat = Field(
        1.0,
        ge=1,
        description="Factor on tv_weight at the start; it falls geometrically to 1. At least 1; paper: 1, never more.",
    )
    tv_decay_iterations: StrictInt = Field(
        600, ge=1, description="Iterations until that factor is 1. At least 1."
    )
    cosine_epsilon: CosineEpsilon = Field(
        "absolute",
        description="The 1e-8 in the matching distance 1 - <g, g*> / (|g| |g*| + 1e-8): absolute, as in the paper's "
        "code, or relative (times |g*|^2). Once |g*| (column gradient_norm) is below about 1e-4, as trained models' "
        "may be, the absolute one hides any match: the row's notes then say so. Paper: absolute.",
    )
    mask_penalty_weight: StrictFloat = Field(
        1e-4,
        ge=0,
        description="Weight of the distance between a mask's dropped fraction and p (dia only). At least 0; "
        "paper: 0.0001.",
    )
    signed_gradients: StrictBool = Field(
        True,
        description="Replace the image's gradient by its sign before each step; mask gradients never are. "
        "true or false; paper: true.",
    )
    adam_beta2: StrictFloat = Field(
        0.999,
        ge=0,
        lt=1,
        description="Decay of Adam's second moment. In [0, 1); paper: 0.999. Gradients shrink a hundredfold within the "
        "first iterations, and masks hardly move until the moment has forgotten that.",
    )
    lbfgs_start_iteration: StrictInt | None = Field(
        None,
        ge=0,
        description="Iterations of Adam after which L-BFGS steps go on; null: Adam throughout, as in the paper. At "
        "least 0; a few tens tell it how large each entry's gradients are, 0 leaves a good start where it is.",
    )
    lbfgs_history_size: StrictInt = Field(
        10, ge=1, le=100, description="Pairs of past steps that L-BFGS uses. 1 to 100."
    )
    restarts: StrictInt = Field(
        1,
        ge=1,
        description="Random starts of each attack (image and masks); the one with the smallest matching "
        "distance is kept. At least 1; paper: 1.",
    )
    mask_init: Literal["bernoulli", "ones", "mean", "uniform"] = Field(
        "bernoulli",
        description="Where masks start (dia only): bernoulli (a draw as the client's), ones (nothing dropped), "
        "mean (every entry at its probability of being kept, 1 - p), uniform (in [0, 1]). Paper: bernoulli.",
    )
    mask_parametrisation: Literal["clipped", "sigmoid"] = Field(
        "clipped",
        description="What is optimised for a mask (dia only): clipped (its entries, clipped to [0, 1] after "
        "each step) or sigmoid (their logits). Paper: clipped.",
    )
