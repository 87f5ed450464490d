"""The recipes of config/studies/stronger_dia.yaml compared on the same client gradients.

    python benchmarks/optimisation_recipes.py --victims 4 --iterations 300
    python benchmarks/optimisation_recipes.py --scenarios paper_full_length lbfgs_tuned --dataset cifar10 --victims 16

One line per scenario: the median over victims of matching distance, SSIM, mask accuracy and iterations, then of the
iterations after which its distance is first below the one that the *first* scenario ends with, victim by victim, and
how many victims get there; ``--per-victim`` adds a line per victim. ``--gelu`` shows what the kinks of ReLU cost.
Images are those of ``mnist_128.npz`` and ``cifar10_128.npz`` in the folder ``--data``.
"""

import argparse
import time
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
from analytic import SHARED, victim_set
from mask_readout import BestSoFar, first_below

from dia.attacks.registry import get_attack
from dia.config.config import Config
from dia.evaluation.experiment import build_experiment
from dia.evaluation.scores import score
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell

STUDY = Path(__file__).parents[1] / "config" / "studies" / "stronger_dia.yaml"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    config = Config.from_file(STUDY)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--model", default="vit")
    parser.add_argument("--rate", default="0.5")
    parser.add_argument("--victims", type=int, default=4)
    parser.add_argument("--iterations", type=int, help="of every scenario; without, each has its own")
    parser.add_argument("--scenarios", nargs="+", choices=list(config.scenarios), metavar="NAME")
    parser.add_argument(
        "--per-victim", action="store_true", help="also print a line per victim, with its MSE"
    )
    parser.add_argument("--gelu", action="store_true", help="GELU in the place of the model's ReLU modules")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = args.scenarios or [
        n for n in config.scenarios if not n.endswith("_n4") and n != "paper_full_length"
    ]
    levels: list[float] = []
    print(
        "scenario               distance   SSIM   masks  iterations  below the first's end after  ms a victim-iteration"
    )
    for name in names:
        changes = {"victims": args.victims} | ({"max_iterations": args.iterations} if args.iterations else {})
        settings = config.settings_of(name, args.model, "dia").model_copy(update=changes)
        job = AttackJob.from_config(
            Cell("default", args.dataset, args.model, args.rate, "dia", 0), settings, {}
        )
        smooth = patch("torch.nn.ReLU", lambda *_, **__: torch.nn.GELU()) if args.gelu else nullcontext()
        with smooth:  # it is here that the model is built
            experiment = build_experiment(job, victim_set(args.data, args.dataset), torch.device("cpu"))
        observer = BestSoFar(args.victims)
        began = time.perf_counter()
        outcome = get_attack("dia")(experiment.problem).run(observe=observer)
        each = 1e3 * (time.perf_counter() - began) / int(outcome.iterations.sum())
        rows = score(experiment, outcome)
        levels = levels or outcome.matching_distance.tolist()
        after = [first_below(curve, level) for curve, level in zip(observer.best, levels, strict=True)]
        values = {
            key: torch.tensor([row[key] for row in rows], dtype=torch.float64).median()
            for key in ("matching_distance", "ssim", "mask_accuracy", "iterations")
        }
        there = sum(count < float("inf") for count in after)
        median = torch.tensor(after, dtype=torch.float64).median()
        print(
            f"{name:22s} {values['matching_distance']:.2e}  {values['ssim']:.3f}  {values['mask_accuracy']:.3f}  "
            f"{values['iterations']:10.0f}  {median:14.0f} ({there} of {len(after)})  {each:14.1f}",
            flush=True,
        )
        for number, (row, count) in enumerate(zip(rows, after, strict=True) if args.per_victim else []):
            print(
                f"  {number:<20d} {row['matching_distance']:.2e}  {row['ssim']:.3f}  "
                f"{row['mask_accuracy']:.3f}  {row['iterations']:10.0f}  {count:14.0f}  MSE {row['mse']:.2e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
