"""A Flower client that trains with dropout, as any tutorial has it."""

import threading
from typing import Any

import torch
import torch.nn.functional as F
from flwr.client import NumPyClient
from task import MEAN, STD, network, private_data

TRAINING = threading.Lock()
"""One client trains at a time: those of one process share torch's random generator."""


class Client(NumPyClient):
    """Trains on its own image and sends its weights back.

    Args:
        number: Which client this is.
    """

    def __init__(self, number: int) -> None:
        self.number = number

    def fit(self, parameters: Any, config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """Local SGD in train mode, where dropout is on."""
        with TRAINING:
            return self._train(parameters, config)

    def _train(self, parameters: Any, config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        model = network()
        torch.manual_seed(1000 + self.number)
        model.load_state_dict(dict(zip(model.state_dict(), map(torch.tensor, parameters), strict=True)))
        images, labels = private_data(self.number)
        optimizer = torch.optim.SGD(model.parameters(), lr=float(config["lr"]))
        model.train()
        for _ in range(int(config["steps"])):
            optimizer.zero_grad()
            F.cross_entropy(model((images - MEAN) / STD), labels).backward()
            optimizer.step()
        weights = [value.numpy() for value in model.state_dict().values()]
        return weights, len(images), {"client": self.number}
