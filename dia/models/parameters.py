"""The parameters of a model: those that its clients train and send, and the one that tells device and precision."""

from torch import Tensor, nn

from dia.errors import ModelError


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require gradients, by name: clients send and move no others.

    Raises:
        ModelError: There is none, so that there is no gradient to attack.
    """
    found = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not found:
        frozen = sum(1 for _ in model.parameters())
        has = f"all {frozen} parameters of the model are frozen" if frozen else "the model has no parameters"
        raise ModelError(f"{has}: a client would send nothing; at least one must have requires_grad=True")
    return found


def reference_parameter(model: nn.Module) -> Tensor:
    """A parameter of the model's device and precision (integer parameters have none)."""
    return next(parameter for parameter in model.parameters() if parameter.is_floating_point())
