"""The protocol of the federation: what a client computes before it sends anything."""

from pydantic import Field

from dia.closed import Closed, Count


class FederatedSettings(Closed):
    """FedSGD (a gradient) or FedAvg (the difference of the weights after local steps)."""

    local_epochs: Count = Field(
        0,
        ge=0,
        description="Passes of local SGD over a client's batch before it sends the difference of the weights (FedAvg); "
        "the server knows the order of the minibatches. At least 0; 0, as in the paper: it sends the gradient (FedSGD).",
    )
    local_batch_size: Count | None = Field(
        None,
        ge=1,
        description="Images of a minibatch of local SGD; the last one of an epoch may be smaller. At least 1; "
        "null: the whole batch.",
    )
    local_learning_rate: float = Field(0.01, gt=0, description="Learning rate of local SGD. Above 0.")
