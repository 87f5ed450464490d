"""The client's training before it sent anything: plain SGD, one step or several."""

from dataclasses import dataclass
from numbers import Real

from dia.errors import UpdateError


@dataclass(frozen=True)
class FedSGD:
    """One step on all images at once: a gradient, or the weights one SGD step later.

    Attributes:
        learning_rate: Of that step, where weights or a difference are sent; None: unknown, and so is the gradient's
            scale, which only ``analytic`` and the labels of a batch need.
        weight_decay: L2 term of the client's SGD; its share of a difference is subtracted.
        momentum: Harmless: a fresh optimiser's first step is plain SGD.
        optimizer: Only ``sgd`` can be attacked.
    """

    learning_rate: float | None = None
    weight_decay: float = 0.0
    momentum: float = 0.0
    optimizer: str = "sgd"

    def minibatches(self, images: int) -> list[list[int]]:
        """The images (numbers in [0, ``images``)) of every step."""
        return [list(range(images))]


@dataclass(frozen=True)
class FedAvg:
    """Local epochs of minibatch SGD; the client sends weights or their difference.

    Attributes:
        learning_rate: Of the local steps.
        epochs: Passes over the client's images.
        batch_size: Images of a minibatch; None: all at once, and an epoch is one step.
        weight_decay, momentum, optimizer: As for :class:`FedSGD`; over several steps neither decay nor momentum can
            be attacked.
    """

    learning_rate: float
    epochs: int = 1
    batch_size: int | None = None
    weight_decay: float = 0.0
    momentum: float = 0.0
    optimizer: str = "sgd"

    def minibatches(self, images: int) -> list[list[int]]:
        """The images (numbers in [0, ``images``)) of every step; every epoch takes them in the same order."""
        size = self.batch_size or images
        epoch = [list(range(first, min(first + size, images))) for first in range(0, images, size)]
        return epoch * self.epochs


Protocol = FedSGD | FedAvg


def check_protocol(protocol: Protocol, images: int, sends_gradient: bool) -> list[str]:
    """Refuse what gradient matching cannot replay.

    Args:
        protocol: What the client did.
        images: Its number of images N.
        sends_gradient: Whether a gradient was sent, not weights or their difference.

    Returns:
        Warnings.

    Raises:
        UpdateError: A setting is out of range, or the client's optimiser cannot be replayed.
    """
    if not isinstance(protocol, FedSGD | FedAvg):
        raise UpdateError(f"protocol is {protocol!r}; it must be dia.FedSGD(...) or dia.FedAvg(...)")
    kinds = {"learning_rate": Real, "weight_decay": Real, "momentum": Real, "epochs": int, "batch_size": int}
    for name, kind in kinds.items():
        value = getattr(protocol, name, None)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            raise UpdateError(
                f"protocol: {name} is {value!r}; it must be a {'whole ' if kind is int else ''}number"
            )
    ranges = {
        "learning_rate": protocol.learning_rate is None or protocol.learning_rate > 0,
        "weight_decay": protocol.weight_decay >= 0,
        "momentum": 0 <= protocol.momentum < 1,
    }
    if isinstance(protocol, FedAvg):
        ranges["epochs"] = protocol.epochs >= 1
        ranges["batch_size"] = protocol.batch_size is None or protocol.batch_size >= 1
    for name, good in ranges.items():
        if not good:
            raise UpdateError(f"protocol: {name} is {getattr(protocol, name)}, out of range")
    if protocol.optimizer.lower() != "sgd":
        raise UpdateError(
            f"protocol: the client used {protocol.optimizer}, whose steps are no multiples of gradients: only plain "
            "SGD can be replayed. Let the client send its gradient, or attack a client that trains with SGD"
        )
    steps = len(protocol.minibatches(images))
    if steps > 1 and sends_gradient:
        raise UpdateError(
            f"protocol: {steps} local steps do not give a gradient; after several steps a client sends weights "
            "(kind='weights') or their difference (kind='difference')"
        )
    for name in ("momentum", "weight_decay"):
        if steps > 1 and getattr(protocol, name):
            raise UpdateError(
                f"protocol: {name} over {steps} local steps cannot be replayed; only one step with it, or several "
                "steps of plain SGD"
            )
    if protocol.weight_decay and protocol.learning_rate is None and not sends_gradient:
        raise UpdateError("protocol: weight_decay can be subtracted only where learning_rate is given")
    warnings = []
    if isinstance(protocol, FedAvg) and protocol.epochs > 1 and (protocol.batch_size or images) < images:
        warnings.append(
            "the order of the client's minibatches is not known: every epoch is taken to have them in the same order"
        )
    return warnings
