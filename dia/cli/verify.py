"""``dia verify``: replay golden runs of the authors' code and compare."""

import argparse
from pathlib import Path

HELP = "replay golden float64 runs of the paper authors' code and compare every loss and the final image"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("verify", help=HELP, description=HELP)
    parser.set_defaults(run=run)
    parser.add_argument("--golden", type=Path, required=True, metavar="DIR", help="folder of golden runs")
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"), help="default cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")


def run(args: argparse.Namespace) -> int:
    """Print one line per run; 1 when any fails, or cannot be replayed."""
    import torch

    from dia.errors import DiaError
    from dia.utils.devices import select_device
    from dia.verification import replay, runs

    torch.set_num_threads(args.threads)
    device, paths = select_device(args.device), runs(args.golden)
    failed = 0
    for path in paths:
        try:
            verdict = replay(path, device)
        except DiaError as error:
            failed += 1
            print(f"FAIL  {path.stem:34s}  {error}", flush=True)
        else:
            failed += not verdict.passed
            print(verdict, flush=True)
    print(f"{len(paths) - failed} of {len(paths)} golden runs reproduced")
    return 1 if failed else 0
