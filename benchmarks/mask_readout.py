"""Iterations saved by reading masks from zeros in the gradient: ``dia_readout`` beside ``dia`` on the same victims.

    python benchmarks/mask_readout.py --models mlp vit --batch-sizes 1 2 4 --iterations 300

First, per dropout site: the share of the entries that can influence the gradient, and of those the share that is
read off exactly (counted over all victims; an entry read off wrongly is an error). Then the iterations until a
victim's matching distance first falls below what ``dia`` reaches in all its iterations, median over the victims.
"""

import argparse
from pathlib import Path

import torch
from analytic import SHARED, victim_set
from torch import Tensor

from dia.attacks.mask_readout.readout import Readout
from dia.attacks.optimisation.state import SearchState
from dia.attacks.registry import get_attack
from dia.evaluation.experiment import Experiment, build_experiment
from dia.evaluation.mask_recovery import align_masks
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.settings.scenario import Settings


class BestSoFar:
    """An observer: the smallest matching distance of each victim by iteration."""

    def __init__(self, victims: int) -> None:
        self.best: list[list[float]] = [[] for _ in range(victims)]

    def __call__(self, state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None:
        for victim, distance in zip(state.victims.tolist(), matching_distance.tolist(), strict=True):
            before = self.best[victim][-1] if self.best[victim] else float("inf")
            self.best[victim].append(min(before, distance))


def known_entries(experiment: Experiment) -> None:
    """Print one line per group of sites with equal names but for the block number."""
    problem = experiment.problem
    known = Readout.of(problem.model).read(problem)
    known = align_masks(known, experiment.true_masks, experiment.labels)
    influential = experiment.influential_entries
    wrong = [
        int(((k != true) & ~k.isnan() & i).sum())
        for k, true, i in zip(known, experiment.true_masks, influential, strict=True)
    ]
    if any(wrong):
        raise RuntimeError(f"{sum(wrong)} entries were read off wrongly")
    for site, k, i in zip(problem.model.sites, known, influential, strict=True):
        fraction = int((~k.isnan() & i).sum()) / max(1, int(i.sum()))
        print(
            f"    {site.name:42s} influential {i.double().mean():7.2%}, of those known exactly {fraction:7.2%}"
        )


def first_below(curve: list[float], level: float) -> float:
    """The number of iterations after which a curve is at most ``level``."""
    return next((number for number, value in enumerate(curve, start=1) if value <= level), float("inf"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--models", nargs="+", default=["mlp", "vit"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--rate", default="0.5")
    parser.add_argument("--victims", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=300)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for model in args.models:
        for images in args.batch_sizes:
            settings = Settings(
                victims=args.victims, batch_size=images, max_iterations=args.iterations, loss_tolerance=0.0
            )
            job = AttackJob.from_config(
                Cell("default", args.dataset, model, args.rate, "dia", 0), settings, {}
            )
            experiment = build_experiment(job, victim_set(args.data, args.dataset), torch.device("cpu"))
            print(f"{model}, {args.dataset}, p = {args.rate}, N = {images}, {args.victims} victims")
            known_entries(experiment)
            curves = {}
            for name in ("dia", "dia_readout", "wiig"):
                observer = BestSoFar(args.victims)
                get_attack(name)(experiment.problem).run(observe=observer)
                curves[name] = observer.best
            levels = [curve[-1] for curve in curves["dia"]]
            print(f"    matching distance that dia reaches: median {torch.tensor(levels).median():.2e}")
            for name, victims in curves.items():
                done = [first_below(curve, level) for curve, level in zip(victims, levels, strict=True)]
                last = torch.tensor([curve[-1] for curve in victims]).median()
                reached = torch.tensor(done, dtype=torch.float64).median()
                print(
                    f"    {name:12s} reaches it after {reached:5.0f} iterations, ends at {last:.2e}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
