"""The YAML file beside an update: what the client did and what the attack is to do. Light to import."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from dia.datasets.specs import NORMALISATIONS, NormalisationName
from dia.models.custom import CustomModel
from dia.settings.optimisation import SearchSettings
from dia.utils.strict_model import StrictBool, StrictFloat, StrictInt, StrictModel

if TYPE_CHECKING:
    from torch import nn

Rate = Annotated[StrictFloat, Field(ge=0, lt=1)]


class LocalTraining(StrictModel):
    """The client's training before it sent anything."""

    learning_rate: Annotated[StrictFloat, Field(gt=0)] | None = Field(
        None, description="Of the client's SGD; null: unknown. Above 0."
    )
    epochs: StrictInt | None = Field(
        None,
        ge=1,
        description="Passes over the client's images (FedAvg); null: one step on all (FedSGD). At least 1.",
    )
    batch_size: StrictInt | None = Field(None, ge=1, description="Images of a minibatch; null: all at once.")
    momentum: StrictFloat = Field(0.0, ge=0, lt=1, description="Of the client's SGD.")
    weight_decay: StrictFloat = Field(0.0, ge=0, description="Of the client's SGD.")
    optimizer: str = Field("sgd", description="The client's optimiser; only sgd can be attacked.")

    @model_validator(mode="after")
    def _several_steps_have_a_rate(self) -> "LocalTraining":
        if self.epochs is None and self.batch_size is not None:
            raise ValueError("batch_size means nothing without epochs")
        if self.epochs is not None and self.learning_rate is None:
            raise ValueError("epochs needs learning_rate: the attack replays every step")
        return self


class AttackSettings(SearchSettings):
    """The attack: its name, its seed, and the settings of docs/config.md that are not the attack's own defaults."""

    method: str = Field("dia", description="dia, dia_lbfgs, dia_readout, dia_warm, ig or analytic.")
    seed: StrictInt = Field(0, ge=0, description="Where the attack's starts are drawn from.")
    precision: Literal["float32", "float64"] = Field(
        "float32", description="Floating-point type of the attack."
    )


class InversionSettings(StrictModel):
    """Everything that an update does not say itself."""

    model: CustomModel = Field(description="How the client's model is made; its weights come from --before.")
    kind: Literal["gradient", "difference", "weights"] = Field(description="What the update holds.")
    sign: Literal["after-before", "before-after"] = Field(
        "after-before", description="Which way round a difference is."
    )
    shape: tuple[StrictInt, StrictInt, StrictInt] = Field(description="Channels, height, width of an image.")
    classes: StrictInt = Field(ge=2, description="Number of the model's outputs. At least 2.")
    images: StrictInt = Field(1, ge=1, description="Images in the client's batch. At least 1.")
    labels: Literal["infer"] | list[StrictInt] = Field("infer", description="One class per image, or infer.")
    normalisation: NormalisationName | None = Field(
        None, description=f"Named mean and std: {', '.join(NORMALISATIONS)}; or mean and std; or neither."
    )
    mean: list[StrictFloat] | None = Field(None, description="Mean of each channel on [0, 1] pixels.")
    std: list[StrictFloat] | None = Field(
        None, description="Standard deviation of each channel on [0, 1] pixels."
    )
    dropout: Literal["own", "unknown"] | Rate | dict[str, Rate] = Field(
        "own", description="own (the model's), unknown, one rate for all modules, or rates by module name."
    )
    client_mode: Literal["train", "eval"] | None = Field(
        None, description="Mode in which the client ran the model; null: the model's own."
    )
    local_training: LocalTraining = Field(
        default_factory=LocalTraining, description="How the client trained."
    )
    attack: AttackSettings = Field(default_factory=AttackSettings, description="How it is attacked.")
    twin: StrictBool = Field(True, description="Attack a made-up client in the same setting first.")

    @model_validator(mode="after")
    def _normalised_once(self) -> "InversionSettings":
        if self.normalisation is not None and (self.mean is not None or self.std is not None):
            raise ValueError("normalisation and mean, std exclude each other")
        return self

    @model_validator(mode="after")
    def _weights_of_the_client(self) -> "InversionSettings":
        if self.model.weights is not None:
            raise ValueError("model.weights means nothing here: the client's weights come from --before")
        return self

    def make_model(self, dropout_rate: float | None = None) -> "nn.Module":
        """The client's model, with whatever weights its factory gives it.

        Args:
            dropout_rate: What ``$dropout_rate`` stands for where ``dropout`` is no rate; None: 0.5.

        Raises:
            ModelError: The factory fails.
        """
        rate = self.dropout if isinstance(self.dropout, float) else dropout_rate
        return self.model.make(self.shape, self.classes, 0.5 if rate is None else rate)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of :func:`dia.inversion.invert.invert`."""
        return self.client_arguments() | {"twin": self.twin, **self.attack.model_dump(exclude_unset=True)}

    def client_arguments(self) -> dict[str, Any]:
        """Those of them that say what the client did."""
        from dia.inversion.protocol import FedAvg, FedSGD

        mean, std = NORMALISATIONS[self.normalisation] if self.normalisation else (self.mean, self.std)
        training = self.local_training.model_dump(exclude={"epochs", "batch_size"})
        epochs, size = self.local_training.epochs, self.local_training.batch_size
        return {
            "shape": self.shape,
            "classes": self.classes,
            "images": self.images,
            "labels": self.labels,
            "mean": mean,
            "std": std,
            "kind": self.kind,
            "sign": self.sign,
            "protocol": FedSGD(**training)
            if epochs is None
            else FedAvg(epochs=epochs, batch_size=size, **training),
            "dropout_rates": self.dropout,
            "client_mode": self.client_mode,
        }
