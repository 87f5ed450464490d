"""A few lines that make any Flower strategy keep what each client sent."""

from pathlib import Path
from typing import Any

import numpy as np
from flwr.common import parameters_to_ndarrays
from flwr.server.strategy import FedAvg


class SaveUpdates(FedAvg):
    """FedAvg that writes, for each round, ``before.npz`` and one ``client_NN.npz`` per client; in state_dict order.

    Args:
        folder: Where the folders ``round_1``, ... go.
        **options: Those of FedAvg.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(**options)
        self.folder = folder

    def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
        """Keep what is sent out."""
        folder = self.folder / f"round_{server_round}"
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "before.npz", *parameters_to_ndarrays(parameters))
        return super().configure_fit(server_round, parameters, client_manager)

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
        """Keep what came back, before anything is averaged."""
        for _, reply in results:
            name = f"round_{server_round}/client_{int(reply.metrics['client']):02d}.npz"
            np.savez(self.folder / name, *parameters_to_ndarrays(reply.parameters))
        return super().aggregate_fit(server_round, results, failures)
