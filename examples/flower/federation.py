"""A federation on this machine: a Flower server, and clients that reach it over 127.0.0.1.

    python federation.py --clients 16 --steps 1 2 5 --out updates

One round for each number of local steps; the server keeps what every client sends.
"""

import argparse
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import flwr
from client import Client
from strategy import SaveUpdates
from task import network


def serve(address: str, clients: int, steps: Sequence[int], lr: float, folder: Path) -> None:
    """Run the server until the last round is over."""
    flwr.server.start_server(
        server_address=address,
        config=flwr.server.ServerConfig(num_rounds=len(steps)),
        strategy=SaveUpdates(
            folder,
            fraction_evaluate=0.0,
            min_fit_clients=clients,
            min_available_clients=clients,
            initial_parameters=flwr.common.ndarrays_to_parameters(
                [value.numpy() for value in network().state_dict().values()]
            ),
            on_fit_config_fn=lambda number: {"steps": steps[number - 1], "lr": lr},
        ),
    )


def join(address: str, clients: int) -> None:
    """Run all clients, each with a connection of its own."""

    def start(number: int) -> None:
        flwr.client.start_client(server_address=address, client=Client(number).to_client())

    threads = [threading.Thread(target=start, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(clients: int, steps: Sequence[int], lr: float, folder: Path) -> None:
    """Server and clients, in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    joining = subprocess.Popen([sys.executable, __file__, "--clients", str(clients), "--join", address])
    try:
        serve(address, clients, steps, lr, folder)
        joining.wait(timeout=60)
    finally:
        joining.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 5], help="local SGD steps, by round")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--out", type=Path, default=Path("updates"))
    parser.add_argument("--join", metavar="ADDRESS", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.join:
        join(args.join, args.clients)
    else:
        run(args.clients, args.steps, args.lr, args.out)
