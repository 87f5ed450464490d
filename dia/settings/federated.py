"""The protocol of the federation: what a client computes before it sends anything, and how models are trained."""

from pydantic import Field

from dia.utils.strict_model import StrictFloat, StrictInt, StrictModel


class FederatedSettings(StrictModel):
    """FedSGD (a gradient) or FedAvg (the difference of the weights after local steps)."""

    local_epochs: StrictInt = Field(
        0,
        ge=0,
        description="Passes of local SGD over a client's batch before it sends the difference of the weights "
        "(FedAvg); the server knows the order of the minibatches. At least 0; 0, as in the paper: it sends the "
        "gradient (FedSGD).",
    )
    local_batch_size: StrictInt | None = Field(
        None,
        ge=1,
        description="Images of a minibatch of local SGD; the last one of an epoch may be smaller. At least 1; "
        "null: the whole batch.",
    )
    local_learning_rate: StrictFloat = Field(0.01, gt=0, description="Learning rate of local SGD. Above 0.")


class TrainingSettings(StrictModel):
    """The state of the model that is attacked: as initialised, or after federated training with dropout."""

    federated_rounds: StrictInt = Field(
        0,
        ge=0,
        description="Rounds of federated training, with dropout and the client's defences, before the attack. "
        "At least 0; 0, as in the paper: the model is untrained.",
    )
    training_clients: StrictInt = Field(
        10, ge=1, description="Clients that take part in a round. At least 1."
    )
    training_batch_size: StrictInt = Field(
        32, ge=1, description="Images of a training client, which are its own. At least 1."
    )
    server_learning_rate: StrictFloat = Field(
        0.1, gt=0, description="Learning rate of the server on the mean gradient (FedSGD only). Above 0."
    )
    training_images: StrictInt = Field(
        10_000,
        ge=1,
        description="Most images to train on, victims never among them. At least 1; a source may have fewer.",
    )
    test_images: StrictInt = Field(
        2_000, ge=1, description="Most images to measure test accuracy on, no victims either. At least 1."
    )
