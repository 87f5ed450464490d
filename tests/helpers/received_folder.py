"""A folder of what real clients sent, as a server of some framework would keep it."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from helpers.real_clients import CLASSES, MEAN, SHAPE, STD, Client, network, train_client

MODEL = {
    "factory": "module:helpers.real_clients.network",
    "arguments": {"p": "$dropout_rate"},
    "dropout_rates": "own",
}
DESCRIPTION: dict[str, Any] = {
    "model": MODEL,
    "kind": "weights",
    "shape": list(SHAPE),
    "classes": CLASSES,
    "mean": [MEAN],
    "std": [STD],
    "local_training": {"learning_rate": 0.1},
}
CONFIG: dict[str, Any] = {
    "name": "mine",
    "datasets": {
        "clients": {
            "source": "received",
            "updates": "received/updates",
            "before": "received/before.npz",
            "settings": "received/client.yaml",
            "originals": "received/originals",
            "updates_per_cell": 2,
        }
    },
    "models": {"net": MODEL},
    "scenarios": {"default": {"max_iterations": 3, "precision": "float64"}},
    "grids": [
        {
            "datasets": ["clients"],
            "models": ["net"],
            "dropout_rates": ["0.5"],
            "attacks": ["dia"],
            "seeds": [0],
        }
    ],
    "tables": ["received"],
    "figures": ["reconstructions"],
}


def fill(folder: Path, clients: int = 3, originals: tuple[int, ...] = (0,), **training: Any) -> list[Client]:
    """Write ``received/`` below ``folder``; the private images of some of the clients too.

    Returns:
        The clients, after their training.
    """
    received = folder / "received"
    for name in ("updates", "originals"):
        (received / name).mkdir(parents=True, exist_ok=True)
    (received / "client.yaml").write_text(yaml.safe_dump(DESCRIPTION))
    np.savez(received / "before.npz", *(value.numpy() for value in network().state_dict().values()))
    made = [train_client(seed=number, labels=[number], **training) for number in range(clients)]
    for number, client in enumerate(made):
        write_update(folder, number, client)
        if number in originals:
            np.savez(received / "originals" / f"client_{number:02d}.npz", images=client.images.numpy())
    return made


def write_update(folder: Path, number: int, client: Client) -> Path:
    """Write what one client sent."""
    path = folder / "received" / "updates" / f"client_{number:02d}.npz"
    np.savez(path, *(value.numpy() for value in client.after.values()))
    return path
