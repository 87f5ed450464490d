"""Accuracy and speed of the analytic attack: one line per (data set, model, dropout rate, batch size).

    python benchmarks/analytic.py [--victims 16] [--batch-sizes 1 4] [--models mlp vit] [--rates 0.1 0.5]

Images are those of ``mnist_128.npz`` and ``cifar10_128.npz`` (uint8 ``images`` and ``labels``) in the folder
``--data``. ``--set defence_noise_std=1e-5`` and the like show how fast it breaks.
Gradients are float32, as a client would send them. MSE is on [0, 1] images, over the images that
the attack claims; masks (the worst victim's) are compared on the entries that can influence the gradient. Milliseconds
an image are those of the clock (on idle cores) and of the processor, which includes the matching distances.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

from dia.attacks.analytic.attack import build as build_attack
from dia.datasets.specs import NORMALISATIONS
from dia.datasets.victim_set import VictimSet
from dia.evaluation.experiment import build_experiment
from dia.evaluation.mask_recovery import align_masks, mask_accuracy
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.settings.scenario import Settings

SHARED = Path(os.environ.get("DIA_SHARED", Path(__file__).parents[2] / "shared"))


def victim_set(folder: Path, dataset: str) -> VictimSet:
    """The 128 images of a data set as a victim set."""
    with np.load(folder / f"{dataset}_128.npz") as file:
        images, labels = file["images"], file["labels"].astype(np.int64)
    images = images[..., None] if images.ndim == 3 else images
    mean, std = (np.asarray(values, np.float32) for values in NORMALISATIONS[dataset])
    return VictimSet(images, labels, np.arange(len(images)), mean, std, dataset, "file", "shared data", 10)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--datasets", nargs="+", default=["mnist", "cifar10"])
    parser.add_argument("--models", nargs="+", default=["mlp", "vit"])
    parser.add_argument("--rates", nargs="+", default=["0.1", "0.25", "0.5", "0.75"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1])
    parser.add_argument("--victims", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="other settings of the cell"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    others = dict(pair.split("=", 1) for pair in args.set)
    print(
        "data     model  p     N  claimed images  median MSE  worst MSE  of all    masks    ms an image     CPU"
        "  stop reasons"
    )
    for dataset in args.datasets:
        for model in args.models:
            for rate in args.rates:
                for images in args.batch_sizes:
                    settings = Settings(victims=args.victims, batch_size=images, **others)
                    measure(victim_set(args.data, dataset), model, rate, settings, args.seed)


def measure(victims: VictimSet, model: str, rate: str, settings: Settings, seed: int) -> None:
    """Attack one cell and print its line."""
    cell = Cell("default", victims.dataset, model, rate, "analytic", seed)
    experiment = build_experiment(AttackJob.from_config(cell, settings, {}), victims, torch.device("cpu"))
    began = time.process_time()
    outcome = build_attack(experiment.problem).run()
    cpu = time.process_time() - began
    pixels = experiment.normalisation.to_pixels(outcome.x).to(experiment.original)
    distances = (pixels[:, :, None] - experiment.original[:, None]).square().flatten(3).mean(3)
    nearest = distances.min(2).values
    mse = nearest[outcome.claimed].numpy()
    total = settings.victims * settings.batch_size
    masks = "-"
    if outcome.masks is not None:
        counted = experiment.influential_entries
        kept = align_masks(outcome.masks, experiment.true_masks, experiment.labels)
        masks = f"{float(mask_accuracy(kept, experiment.true_masks, counted).min()):.2%}"
    reasons = ", ".join(f"{outcome.stop_reason.count(r)} {r}" for r in sorted(set(outcome.stop_reason)))
    spread = f"{np.median(mse):.1e}     {mse.max():.1e}" if len(mse) else "      -           -"
    milliseconds = 1000 * float(outcome.seconds.mean()) / settings.batch_size
    cpu *= 1000 / total
    print(
        f"{victims.dataset:8s} {model:6s} {rate:5s} {settings.batch_size:d}  {len(mse):5d} of {total:4d}"
        f"   {spread}    {float(nearest.median()):.1e}   {masks:>7s}  {milliseconds:6.1f}  {cpu:6.1f}  {reasons}",
        flush=True,
    )


if __name__ == "__main__":
    main()
