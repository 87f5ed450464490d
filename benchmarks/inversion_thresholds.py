"""False alarms and misses of the checks of ``dia.invert``, over clients that are described rightly and wrongly.

    python benchmarks/inversion_thresholds.py [--right 8] [--wrong 2]

Clients in plain torch have one bundled MNIST digit (two where it says so) and dropout 0.5; every second one starts
from a network that was trained for some rounds. Half of a network's clients send a gradient, half the weights after
one step. A description is wrong in one thing. First per description: the pictures and what was warned of. Then per
threshold of the matching distance: good pictures (SSIM above 0.9) that it doubts, and bad ones (below 0.5) that it
believes. Then the verdict of the twin (one image, described rightly). Last the other warnings on right
descriptions. Rates have Wilson's 95% intervals. Other clients: ``--seed``.
"""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dia
from dia.datasets import bundled_mnist
from dia.datasets.specs import NORMALISATIONS, BundledMnist
from dia.errors import DiaError
from dia.inversion.invert import EXPLAINED, TWIN_MIN_SSIM
from dia.reporting.intervals import wilson

MEAN, STD = (float(values[0]) for values in NORMALISATIONS["mnist"])
RATE = 0.1
"""Learning rate of the clients."""
GOOD, BAD = 0.9, 0.5
THRESHOLDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
Call = dict[str, Any]


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 64), nn.GELU(), nn.Dropout(0.5), nn.Linear(64, 10)
    )  # fmt: skip


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, 2, 2), nn.GELU(), nn.Conv2d(8, 16, 5, 2, 2), nn.GELU(),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10),
    )  # fmt: skip


def deep() -> nn.Module:
    """Leaks little: its pictures mostly stay wrong after a few hundred iterations."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, 2, 2), nn.GELU(), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(1568, 32), nn.GELU(), nn.Dropout(0.5), nn.Linear(32, 10),
    )  # fmt: skip


NETWORKS = {"mlp": mlp, "conv": conv, "deep": deep}


class Digits:
    """Pixels (n, 1, 28, 28) in [0, 1] and labels (n,) of the bundled digits."""

    def __init__(self) -> None:
        source = bundled_mnist.load(BundledMnist(source="bundled-mnist"))
        self.labels = torch.from_numpy(source.labels)
        self._source = source

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(self.labels), (count,))
        pixels = torch.from_numpy(self._source.read(chosen.numpy())).permute(0, 3, 1, 2)
        return pixels.float() / 255, self.labels[chosen]


@dataclass
class Client:
    """One client after a step.

    Attributes:
        model: As the server sent it.
        later: The weights of the server some rounds later.
        images, labels: Its private data.
        gradient, after: Of its first step; the weights after all its steps.
        sends_weights: What it sends.
    """

    model: nn.Module
    later: dict[str, Tensor]
    images: Tensor
    labels: Tensor
    gradient: dict[str, Tensor]
    after: dict[str, Tensor]
    sends_weights: bool

    def call(self) -> Call:
        """The arguments of a right description."""
        sent = {"update": self.after, "kind": "weights"} if self.sends_weights else {"update": self.gradient}
        known = {"mean": MEAN, "std": STD, "labels": self.labels, "protocol": dia.FedSGD(RATE)}
        return {"model": self.model, "shape": (1, 28, 28), **sent, **known}


def train(model: nn.Module, digits: Digits, rounds: int) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(rounds):
        pixels, labels = digits.draw(32)
        optimiser.zero_grad()
        F.cross_entropy(model((pixels - MEAN) / STD), labels).backward()
        optimiser.step()


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def make_client(
    network: str, digits: Digits, seed: int, number: int, images: int = 1, steps: int = 1
) -> Client:
    """Train one client; the same number has the same digit and weights in every description."""
    torch.manual_seed(seed * 1_000_003 + number)
    model = NETWORKS[network]()
    train(model, digits, 60 * (number % 2))
    before = copied(model)
    pixels, labels = digits.draw(images)
    gradients: list[dict[str, Tensor]] = []
    for _ in range(steps):
        loss = F.cross_entropy(model((pixels - MEAN) / STD), labels)
        parameters = dict(model.named_parameters())
        gradients.append(
            dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
        )
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter -= RATE * gradients[-1][name]
    after = copied(model)
    model.load_state_dict(before)
    train(model, digits, 20)
    later = copied(model)
    model.load_state_dict(before)
    return Client(model, later, pixels, labels, gradients[0], after, number // 2 % 2 == 1)


def negated(client: Client) -> Call:
    if client.sends_weights:
        difference = {name: client.after[name] - client.model.state_dict()[name] for name in client.gradient}
        return {"update": difference, "kind": "difference", "sign": "before-after"}
    return {"update": {name: -value for name, value in client.gradient.items()}}


Description = tuple[dict[str, int], Callable[[Client], Call]]
"""How a client is made, and the arguments that differ from :meth:`Client.call`."""

RIGHT: dict[str, Description] = {
    "one image": ({}, lambda c: {}),
    "two images": ({"images": 2}, lambda c: {}),
    "three steps": (
        {"steps": 3},
        lambda c: {"update": c.after, "kind": "weights", "protocol": dia.FedAvg(RATE, epochs=3)}),
}  # fmt: skip
WRONG: dict[str, Description] = {
    "learning rate / 10": (
        {}, lambda c: {"update": c.after, "kind": "weights", "protocol": dia.FedSGD(RATE / 10)}),
    "learning rate x 10": (
        {}, lambda c: {"update": c.after, "kind": "weights", "protocol": dia.FedSGD(RATE * 10)}),
    "labels": ({}, lambda c: {"labels": (c.labels + 1) % 10}),
    "no normalisation": ({}, lambda c: {"mean": 0.0, "std": 1.0}),
    "normalisation of [-1, 1]": ({}, lambda c: {"mean": 0.5, "std": 0.5}),
    "two images, said one": ({"images": 2}, lambda c: {"labels": "infer", "images": 1}),
    "one image, said two": ({}, lambda c: {"labels": "infer", "images": 2}),
    "three steps, said one": (
        {"steps": 3}, lambda c: {"update": c.after, "kind": "weights"}),
    "weights of a later round": ({}, lambda c: {"before": c.later}),
    "opposite sign": ({}, negated),
    "dropout forgotten": ({}, lambda c: {"dropout_rates": 0.0}),
}  # fmt: skip


@dataclass
class Outcome:
    """What came of one call; ``refused`` before the attack, or a picture with ``warnings``."""

    refused: bool
    distance: float = float("nan")
    ssim: float = float("nan")
    warnings: tuple[str, ...] = ()
    twin_leaks: bool | None = None

    @property
    def doubted(self) -> bool:
        return self.refused or bool(self.warnings)


def attack(client: Client, changes: Call, method: str, iterations: int, twin: bool) -> Outcome:
    options = {"method": method, "max_iterations": iterations, "device": "cpu", "twin": twin}
    try:
        r = dia.invert(**client.call() | changes, **options)
    except DiaError:
        return Outcome(True)
    if len(r.images) == len(client.images):
        ssim = float(dia.score(r.images, client.images).ssim.mean())
    else:  # the best of any pair
        pairs = [(found[None], true[None]) for found in r.images for true in client.images]
        ssim = max(float(dia.score(found, true).ssim) for found, true in pairs)
    leaks = None
    if r.twin is not None:
        leaks = float(r.twin.scores.ssim.mean()) >= TWIN_MIN_SSIM and r.twin.distance <= EXPLAINED
    warnings = tuple(warning for warning in r.warnings if not warning.startswith("twin:"))
    return Outcome(False, r.distance, ssim, warnings, leaks)


def rate(successes: int, trials: int) -> str:
    if not trials:
        return "none"
    value, low, high = wilson(successes, trials)
    return f"{successes} of {trials} ({value:.0%} [{low:.0%}, {high:.0%}])"


def line(kind: str, outcomes: list[Outcome]) -> str:
    seen = [o for o in outcomes if not o.refused]
    median = {name: torch.tensor([getattr(o, name) for o in seen]).median() for name in ("distance", "ssim")}
    wrong = [o for o in seen if o.ssim < BAD]
    return (
        f"| {kind} | {len(outcomes) - len(seen)} | {median['distance']:.1e} | {median['ssim']:.2f} | "
        f"{rate(sum(o.doubted for o in outcomes), len(outcomes))} | "
        f"{rate(sum(o.distance > EXPLAINED for o in seen), len(seen))} | "
        f"{rate(sum(not o.doubted for o in wrong), len(outcomes))} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--right", type=int, default=8, help="clients per network that are described rightly")
    parser.add_argument("--wrong", type=int, default=2, help="clients per network and wrong description")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--method", default="dia")
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    digits = Digits()
    print("| description | refused | distance, median | SSIM, median | warned of or refused | distance > "
          f"{EXPLAINED} | SSIM < {BAD} and no word |\n|---|---|---|---|---|---|---|")  # fmt: skip

    def run(kinds: dict[str, Description], kind: str, networks: list[str], count: int) -> list[Outcome]:
        client, changes = kinds[kind]
        outcomes = list[Outcome]()
        for network in networks:
            for number in range(count):
                made = make_client(network, digits, args.seed, number, **client)
                outcomes.append(
                    attack(made, changes(made), args.method, args.iterations, kind == "one image")
                )
        print(line(kind if kinds is WRONG else f"right, {kind}, {networks[0]}", outcomes), flush=True)
        return outcomes

    every = [
        o for kind in RIGHT for network in args.networks for o in run(RIGHT, kind, [network], args.right)
    ]
    wrong = [o for kind in WRONG for o in run(WRONG, kind, args.networks, args.wrong)]
    seen = [o for o in wrong if not o.refused]
    good, bad = [o for o in every if o.ssim > GOOD], [o for o in every + seen if o.ssim < BAD]
    print(f"\n| threshold | SSIM > {GOOD}, described rightly, but doubted | SSIM < {BAD}, but believed | "
          "described wrongly, but believed |\n|---|---|---|---|")  # fmt: skip
    for threshold in THRESHOLDS:
        print(f"| {threshold} | {rate(sum(o.distance > threshold for o in good), len(good))} | "
              f"{rate(sum(o.distance <= threshold for o in bad), len(bad))} | "
              f"{rate(sum(o.distance <= threshold for o in seen), len(seen))} |")  # fmt: skip
    print("\n| twin says | client's SSIM >= 0.5 | below |\n|---|---|---|")
    for leaks in (True, False):
        said = [o for o in every if o.twin_leaks is leaks]
        came = sum(o.ssim >= BAD for o in said)
        print(f"| {'leaks' if leaks else 'does not leak'} | {came} | {len(said) - came} |")
    print("\nWarnings on right descriptions, but for the distance:")
    texts = [w for o in every for w in o.warnings if "do not explain" not in w]
    texts = [re.sub(r"-?\d[\d.e-]*", "#", text)[:70] for text in texts]
    for text in sorted(set(texts)):
        print(f"    {rate(texts.count(text), len(every))}: {text}")


if __name__ == "__main__":
    main()
