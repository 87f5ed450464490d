"""The analytic attack on convolutions: how exact, how much of the image is determined, how long.

    python benchmarks/analytic_convolutions.py lenet [--datasets mnist cifar10] [--rates 0 0.5] [--batch-sizes 1 4]
    python benchmarks/analytic_convolutions.py resnet18 [--victims 4]
    python benchmarks/analytic_convolutions.py row-space        # which layers of a ResNet-18 determine their input
    python benchmarks/analytic_convolutions.py unseen           # pixels that nothing depends on

Images are those of ``mnist_128.npz`` and ``cifar10_128.npz`` in ``$DIA_SHARED/data``; without them there is nothing to
measure. Gradients are float32. MSE and SSIM are on [0, 1] images; MSE is over the seen pixels. Seconds are those of the
processor, an image.
"""

import argparse
import copy
import dataclasses
import time
from collections.abc import Callable, Iterator

import torch
from analytic import SHARED, victim_set
from torch import Tensor, nn

from dia.attacks.analytic import row_space
from dia.attacks.analytic.attack import build as build_attack
from dia.attacks.analytic.convolutions import ConvolutionSolver
from dia.attacks.analytic.errors import NotApplicable
from dia.evaluation.experiment import Experiment, build_experiment
from dia.evaluation.metrics import scores
from dia.gradients.batched import BatchedGradientEngine
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.models.unseen_pixels import unseen_pixels
from dia.settings.scenario import Settings


def experiment(
    dataset: str, model: str, rate: str, victims: int, images: int, sites: str, seed: int, first: int = 0
) -> Experiment:
    """One cell's victims: the images of the set from number `first` on."""
    settings = Settings(victims=victims, batch_size=images, dropout_sites=sites)
    job = AttackJob.from_config(Cell("default", dataset, model, rate, "analytic", seed), settings, {})
    whole = victim_set(SHARED / "data", dataset)
    rest = dataclasses.replace(
        whole,
        images=whole.images[first:],
        labels=whole.labels[first:],
        source_indices=whole.source_indices[first:],
    )
    return build_experiment(job, rest, torch.device("cpu"))


def engine(of: Experiment) -> BatchedGradientEngine:
    """The model, which takes one step here."""
    assert isinstance(of.problem.model, BatchedGradientEngine)
    return of.problem.model


def lenet(args: argparse.Namespace) -> None:
    """One line per data set, rate and batch size."""
    print(
        "data     p     N  solved  worst MSE  refused | not determined: rank of unknowns    MSE            s"
    )
    for of, dataset, rate, images in _cells(args, "lenet"):
        solve = ConvolutionSolver(of.problem, engine(of))
        exact, rest, ranks, refused, began = [], [], [], 0, time.process_time()
        for victim in range(args.victims):
            try:
                found = solve(victim)
            except NotApplicable:
                refused += 1
                continue
            mse = worst_mse(of, victim, found.x, found.seen)
            if found.complete and found.replays:
                exact.append(mse)
            else:
                rest.append(mse)
                ranks.append(found.rank / found.unknowns)
        seconds = (time.process_time() - began) / args.victims / images
        worst = f"{max(exact):.1e}" if exact else "   -   "
        others = f"{min(ranks):.3f} to {max(ranks):.3f}  {min(rest):.1e} to {max(rest):.1e}" if rest else "-"
        print(
            f"{dataset:8s} {rate:5s} {images}  {len(exact):2d} of {args.victims}  {worst}   {refused}   | {others}"
            f"  {seconds:.2f}",
            flush=True,
        )


def worst_mse(of: Experiment, victim: int, x: Tensor, seen: Tensor) -> float:
    """Of the images of a batch, each beside the private image that is nearest."""
    pixels = of.normalisation.to_pixels(x.to(of.original)).clamp(0, 1)
    differences = (pixels[:, None] - of.original[victim])[..., seen]
    return float(differences.square().mean((2, 3)).min(1).values.max())


def resnet18(args: argparse.Namespace) -> None:
    """One line per data set and rate."""
    print(
        "data     p     N  SSIM > 0.9  SSIM: least, median  PSNR: median   with the true scale: median SSIM, PSNR   s"
    )
    for of, dataset, rate, images in _cells(args, "resnet18"):
        began = time.process_time()
        outcome = build_attack(of.problem).run()
        seconds = (time.process_time() - began) / args.victims
        x, true = outcome.x.to(of.original), of.normalisation.normalise(of.original)
        scale = (x * true).flatten(1).sum(1) / x.square().flatten(1).sum(1).clamp_min(1e-12)
        ssims, psnrs = quality(of, x)
        best, noise = quality(of, scale[:, None, None, None, None] * x)
        print(
            f"{dataset:8s} {rate:5s} {images}  {int((ssims > 0.9).sum()):2d} of {args.victims}    "
            f"{ssims.min():.3f}, {ssims.median():.3f}        {psnrs.median():.1f}          "
            f"{best.median():.4f}, {noise.median():.1f}     {seconds:.1f}   "
            + ", ".join(f"{outcome.stop_reason.count(r)} {r}" for r in sorted(set(outcome.stop_reason))),
            flush=True,
        )


def quality(of: Experiment, x: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and PSNR (V,) of single images."""
    found = scores(of.original, of.normalisation.to_pixels(x).clamp(0, 1), success_min_ssim=0.9)
    return found["ssim"], found["psnr"]


def row_spaces(args: argparse.Namespace) -> None:
    """One line per convolution of a ResNet-18 behind its stem."""
    print(
        "layer                    input            N T  out  rank  dimension  residuals: solution, next      outside"
    )
    for of, dataset, rate, images in _cells(args, "resnet18"):
        print(f"{dataset}, p = {rate}, N = {images}")
        network = copy.deepcopy(of.problem.model.model).double().eval()
        inputs: dict[str, Tensor] = {}
        convolutions = [
            (n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d) and n != "conv1"
        ]
        for name, module in convolutions:
            module.register_forward_pre_hook(_remember(inputs, name))
        with torch.no_grad():
            network(of.normalisation.normalise(of.original[0]).double())
        for name, conv in convolutions:
            a = inputs[name]
            shape = (a.shape[1], a.shape[2], a.shape[3])
            if not row_space.may_determine(conv, shape, images):
                print(f"{name:24s} {shape!s:16s} sizes do not allow it")
                continue
            found = row_space.solutions(conv, of.problem.gradient(0, f"{name}.weight"), shape, images)
            basis = found.directions[: max(found.dimension, images)].flatten(1)
            vectors = a.flatten(1) / a.flatten(1).norm(dim=1, keepdim=True)
            outside = float((vectors - vectors @ basis.T @ basis).norm(dim=1).max())
            last, following = found.residuals[images - 1], found.residuals[images]
            print(
                f"{name:24s} {shape!s:16s} {images * found.positions:3d}  {conv.out_channels:3d}   {found.rank:3d}   "
                f"{found.dimension:3d}        {last:.0e}, {following:.0e}                      {outside:.0e}",
                flush=True,
            )


def _remember(inputs: dict[str, Tensor], name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        inputs[name] = args[0].detach()

    return hook


def unseen(args: argparse.Namespace) -> None:
    """One line per data set and model."""
    for dataset in args.datasets:
        for model in ("mlp", "vit", "lenet", "resnet18"):
            of = experiment(dataset, model, "0.5", 1, 1, "default", args.seed)
            found = unseen_pixels(of.problem.model.model, of.problem.model.sites, of.problem.shape)
            print(f"{dataset:8s} {model:9s} {int(found.sum()):5d} of {found.numel()} pixels are never seen")


def _cells(args: argparse.Namespace, model: str) -> Iterator[tuple[Experiment, str, str, int]]:
    for dataset in args.datasets:
        for rate in args.rates:
            for images in args.batch_sizes:
                of = experiment(dataset, model, rate, args.victims, images, args.sites, args.seed, args.first)
                yield of, dataset, rate, images


WHAT = {"lenet": lenet, "resnet18": resnet18, "row-space": row_spaces, "unseen": unseen}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--datasets", nargs="+", default=["mnist", "cifar10"])
    parser.add_argument("--rates", nargs="+", default=["0", "0.1", "0.25", "0.5", "0.75"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1])
    parser.add_argument("--sites", default="default", help="dropout sites")
    parser.add_argument("--victims", type=int, default=16)
    parser.add_argument("--first", type=int, default=0, help="the first image of the set to attack")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not (SHARED / "data").is_dir():
        print(f"skipped: there is no {SHARED / 'data'}; set DIA_SHARED")
        return
    torch.set_num_threads(1)
    WHAT[args.what](args)


if __name__ == "__main__":
    main()
