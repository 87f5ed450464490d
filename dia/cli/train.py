"""``dia train``: train one model, which all cells that attack it share."""

import argparse
from pathlib import Path

HELP = "train one model by federated rounds with dropout, and measure its test accuracy"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("train", help=HELP, description=HELP)
    parser.set_defaults(run=run)
    parser.add_argument("--job", required=True, metavar="JSON", help="what to train, and how")
    parser.add_argument(
        "--dataset-json", required=True, metavar="JSON", help="the dataset as in the config, with its place"
    )
    parser.add_argument(
        "--victims", type=Path, required=True, metavar="NPZ", help="victim set, left out of all training"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="NPZ", help="where the model goes")
    parser.add_argument(
        "--utility", type=Path, required=True, metavar="PARQUET", help="where its accuracy goes"
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads to use (default 1)")


def run(args: argparse.Namespace) -> int:
    """Train, test, write."""
    from dia.execution.code_version import code_fingerprint, import_numeric_code
    from dia.utils.files import check_writable

    for path in (args.out, args.utility):
        check_writable(path)
    code_fingerprint()
    import_numeric_code()
    import torch

    from dia.datasets.registry import parse_dataset
    from dia.datasets.specs import ImageDataset
    from dia.datasets.train_test_split import training_split
    from dia.datasets.victim_set import VictimSet
    from dia.execution.provenance import peak_memory_mb, provenance
    from dia.execution.torch_setup import configure_torch
    from dia.federated.training import train
    from dia.jobs.training_job import TrainingJob
    from dia.results.utility import write_utility
    from dia.utils.log import LOG, start_logging

    start_logging()
    job = TrainingJob.parse(args.job)
    settings = job.settings
    device = configure_torch(settings, args.device, args.threads)
    began = provenance(torch=torch, device=str(device), threads=args.threads)
    victims = VictimSet.load(args.victims)
    spec = parse_dataset(args.dataset_json, job.dataset_name)
    assert isinstance(spec, ImageDataset)  # the config lets only those be trained on
    split = training_split(spec, job.dataset_name, victims, settings.training_images, settings.test_images)
    LOG.info(
        "model %s: %d training and %d test images of %s, %d victims left out",
        job.name,
        len(split.train_labels),
        len(split.test_labels),
        split.detail,
        len(victims),
    )
    trained = train(job, split, victims, device)
    trained.save(args.out)
    memory = {"peak_memory_mb": peak_memory_mb(torch, str(device))}
    write_utility(args.utility, job, trained.utility, began | memory)
    LOG.info("wrote %s and %s", args.out, args.utility)
    return 0
