"""How often the analytic attack claims what is not so: simulated batches of random networks, true and false claims.

    python benchmarks/claims.py --networks 2500 --batches 4 [--first 0] [--out claims.jsonl]

Each network is drawn by its number: batch size N, dropout rate, biases, activation, width, depth, classes, noise on the
gradient, trained or not, images of MNIST or CIFAR-10 (``--data``). ``--networks 1 --first K`` repeats network K alone.
A claimed image is *false* if no private image of its batch, each counted once, is within ``--tolerance`` of it (squared
error relative to the private image, normalised pixels). It is *unscaled* if one is, up to scale and sign. Noise is
relative to the root mean square of each parameter's gradient.

``--out`` gets a line of JSON per network as soon as it is finished; networks that it holds already are not repeated, so
that a run that was stopped goes on with the same command.
"""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from analytic import SHARED, victim_set
from torch import Tensor, nn

from dia.attacks.analytic.attack import build as build_attack
from dia.attacks.optimisation.initialisation import FixedInitialisation
from dia.attacks.problem import Problem
from dia.datasets.normalisation import Normalisation
from dia.federated.client import compute_update, draw_masks
from dia.federated.update import ClientUpdate
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.factored import DenseGradient
from dia.models.dropout import replace_dropout
from dia.settings.scenario import Settings

ACTIVATIONS: dict[str, type[nn.Module]] = {"ReLU": nn.ReLU, "GELU": nn.GELU, "Tanh": nn.Tanh, "SELU": nn.SELU}
CORRECT, UNSCALED, FALSE = "correct", "unscaled", "false"

REPORT_EVERY = 120
"""Seconds between lines of progress."""


@dataclass(frozen=True)
class Network:
    """What is drawn for a network: fields are grouped by in the tables that are printed."""

    number: int
    images: int
    rate: float
    bias: bool
    activation: str
    width: int
    hidden_layers: int
    classes: int
    noise: float
    trained: bool
    dataset: str

    @classmethod
    def draw(cls, number: int) -> "Network":
        """The network with this number, the same in every run."""
        rng = random.Random(number)
        return cls(
            number=number,
            images=rng.randint(1, 8),
            rate=rng.choice([0.0, 0.1, 0.25, 0.5, 0.75]),
            bias=rng.random() < 0.5,
            activation=rng.choice(list(ACTIVATIONS)),
            width=rng.choice([64, 128, 256, 512, 1024]),
            hidden_layers=rng.randint(1, 3),
            classes=rng.choice([2, 5, 10, 100]),
            noise=rng.choice([0.0, 0.0, 0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3]),
            trained=rng.random() < 0.5,
            dataset=rng.choice(["mnist", "cifar10"]),
        )

    def build(self, inputs: int) -> nn.Module:
        """The network with its initial weights, for images of so many pixels."""
        layers: list[nn.Module] = [nn.Flatten()]
        for width in [self.width] * self.hidden_layers:
            layers += [
                nn.Linear(inputs, width, self.bias),
                ACTIVATIONS[self.activation](),
                nn.Dropout(self.rate),
            ]
            inputs = width
        return replace_dropout(nn.Sequential(*layers, nn.Linear(inputs, self.classes, self.bias)))


def train(model: nn.Module, x: Tensor, labels: Tensor) -> None:
    """A few steps on all images: enough to move the weights and to make logits differ."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(20):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimiser.step()


@cache
def pool_of(folder: Path, dataset: str) -> tuple[Tensor, Normalisation]:
    """All images of a data set (K, C, H, W), normalised, and by what."""
    victims = victim_set(folder, dataset)
    normalisation = Normalisation.per_channel(victims.mean, victims.std, torch.float32)
    return normalisation.normalise(victims.tensors(len(victims.images))[0]), normalisation


def simulate(network: Network, batches: int, folder: Path) -> tuple[Problem, Tensor]:
    """What the clients of a network send, and their images (V, N, C, H, W)."""
    torch.manual_seed(network.number)
    pool, normalisation = pool_of(folder, network.dataset)
    shape = tuple(pool.shape[1:])
    model = network.build(pool[0].numel())
    if network.trained:
        train(model, pool, torch.randint(network.classes, (len(pool),)))
    engine = BatchedGradientEngine(model, shape, network.classes, network.images)
    x = torch.stack([pool[torch.randperm(len(pool))[: network.images]] for _ in range(batches)])
    labels = torch.randint(network.classes, (batches, network.images))
    ids = [f"{number:04d}" for number in range(batches)]
    masks = draw_masks(engine.sites, network.number, ids, network.images, "client_masks")
    received = ClientUpdate.of(compute_update(engine, x, masks, labels))
    settings = Settings(victims=batches, batch_size=network.images)
    low, high = normalisation.bounds()
    starts = FixedInitialisation(x, masks, ids)
    problem = Problem(engine, received, labels, shape, low, high, masks, starts, ids, settings)
    return with_noise(problem, network.noise), x


def with_noise(problem: Problem, level: float) -> Problem:
    """The same problem with Gaussian noise on the gradients, relative to their root mean square."""
    if level == 0:
        return problem
    pieces = {}
    for name, piece in problem.received.pieces.items():
        value = piece.dense()
        size = value.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (value.dim() - 1))
        pieces[name] = DenseGradient(value + level * size * torch.randn_like(value))
    return replace(problem, received=ClientUpdate.of(pieces))


def judge(claims: Tensor, private: Tensor, tolerance: float) -> list[str]:
    """What each of the claimed images (K, D) of one batch is, given the private ones (N, D)."""
    claims, private = claims.double(), private.double()
    scale = (claims @ private.T) / claims.square().sum(1, keepdim=True)  # of a claim onto each private image
    size = private.square().sum(1)
    exact = torch.cdist(claims, private).square() / size
    direction = 1 - scale * (claims @ private.T) / size
    verdicts, taken = [], set()
    for claim in range(len(claims)):
        image = int(direction[claim].argmin())
        close = float(direction[claim, image]) <= tolerance and image not in taken
        taken.add(image)
        verdicts.append(
            FALSE if not close else CORRECT if float(exact[claim, image]) <= tolerance else UNSCALED
        )
    return verdicts


def measure(network: Network, batches: int, folder: Path, tolerance: float) -> dict[str, Any]:
    """Attack a network's batches: its fields, counts, and how often each stop reason was given."""
    problem, x = simulate(network, batches, folder)
    outcome = build_attack(problem).run()
    found: Counter[str] = Counter(batches=batches, images=batches * network.images)
    assert outcome.claimed is not None
    for victim, claimed in enumerate(outcome.claimed):
        verdicts = judge(outcome.x[victim][claimed].flatten(1), x[victim].flatten(1), tolerance)
        found.update(verdicts)
        found["batches_with_false"] += FALSE in verdicts
    reasons = Counter(reason.split(":")[0] for reason in outcome.stop_reason)
    return {"network": asdict(network), "counts": found, "reasons": reasons}


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--networks", type=int, default=250)
    parser.add_argument("--first", type=int, default=0, help="number of the first network")
    parser.add_argument("--batches", type=int, default=4, help="batches per network")
    parser.add_argument("--tolerance", type=float, default=1e-6)
    parser.add_argument("--out", type=Path, help="file of finished networks, one JSON object per line")
    args = parser.parse_args()
    torch.set_num_threads(1)
    wanted = range(args.first, args.first + args.networks)
    lines = args.out.read_text().splitlines() if args.out and args.out.exists() else []
    results = {r["network"]["number"]: r for r in map(json.loads, lines) if r["network"]["number"] in wanted}
    began = reported = time.monotonic()
    for number in wanted:
        if number in results:
            continue
        network = Network.draw(number)
        result = results[number] = measure(network, args.batches, args.data, args.tolerance)
        if args.out:
            with args.out.open("a") as file:
                file.write(json.dumps(result) + "\n")
        if result["counts"].get(FALSE):
            print(f"{result['counts'][FALSE]} false claims: {network}", flush=True)
        if time.monotonic() - reported > REPORT_EVERY:
            reported = time.monotonic()
            print(f"{len(results)} of {len(wanted)} networks: {dict(total(results.values()))}", flush=True)
    print_table(list(results.values()))
    print(f"networks {wanted.start} to {wanted.stop - 1} in {time.monotonic() - began:.0f} s")


def total(results: Iterable[dict[str, Any]]) -> Counter[str]:
    """The sum of all counts."""
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result["counts"])
    return counts


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """One line per value of each field of a network, and how often each stop reason was given."""
    columns = ["batches", "images", CORRECT, UNSCALED, FALSE, "batches_with_false"]
    print(f"{'':24s}" + "".join(f"{column:>20s}" for column in columns))
    names = [field.name for field in fields(Network) if field.name != "number"]
    rows = [("all", total(results))]
    for name in names:
        for value in sorted({result["network"][name] for result in results}):
            rows.append((f"{name} {value}", total(r for r in results if r["network"][name] == value)))
    for label, counts in rows:
        print(f"{label:24s}" + "".join(f"{counts[column]:20d}" for column in columns))
    reasons: Counter[str] = Counter()
    for result in results:
        reasons.update(result["reasons"])
    print(", ".join(f"{count} {reason}" for reason, count in reasons.most_common()))


if __name__ == "__main__":
    main()
