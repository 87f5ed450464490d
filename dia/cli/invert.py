"""``dia invert``: attack the update that a real client sent, from files."""

import argparse
from pathlib import Path
from typing import Any

HELP = "attack the update that a real client sent, from files"


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "invert",
        help=HELP,
        description="Reconstruct the images behind one client's update. Files of tensors are .safetensors, .npz (with "
        "names, or arr_0, arr_1, ... in state_dict order) or .pt (weights only).",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--before", type=Path, required=True, metavar="FILE", help="the weights that the server sent"
    )
    parser.add_argument(
        "--update", type=Path, required=True, metavar="FILE", help="what the client sent back"
    )
    parser.add_argument(
        "--settings",
        type=Path,
        required=True,
        metavar="YAML",
        help="what the files do not say (docs/invert.md)",
    )
    parser.add_argument(
        "--originals",
        type=Path,
        metavar="NPZ",
        help="the private images, array 'images' (N, C, H, W): also score",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write; must not exist"
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads to use (default 1)")


def run(args: argparse.Namespace) -> int:
    """Check, attack, write the folder; print what was found and what speaks against it."""
    from dia.errors import RecordError
    from dia.inversion.settings_file import InversionSettings
    from dia.utils.validation_errors import validate_model
    from dia.utils.yaml_file import read_yaml

    if args.out.exists():  # before any work
        raise RecordError(f"{args.out} exists; give another --out, or remove it")
    settings = validate_model(InversionSettings, read_yaml(args.settings, "settings"), str(args.settings))
    import torch

    from dia.federated.update_file import read_update
    from dia.inversion.invert import invert
    from dia.inversion.originals import read_originals
    from dia.inversion.result import score
    from dia.reporting.inversion_report import write_folder

    torch.set_num_threads(args.threads)
    before, update = read_update(args.before), read_update(args.update)
    private = (
        None
        if args.originals is None
        else torch.from_numpy(read_originals(args.originals, (settings.images, *settings.shape)))
    )
    result = invert(settings.make_model(), update, before=before, device=args.device, **settings.arguments())
    scores = None if private is None else score(result.images, private)
    origin = {name: str(getattr(args, name)) for name in ("before", "update", "settings")}
    write_folder(args.out, result, origin, private, scores)
    for name, norm in result.gradient_norms.items():
        print(f"gradient norm of {name}: {norm:.4g}")
    for warning in result.warnings:
        print(f"warning: {warning}")
    if result.twin is not None:
        print(f"twin (a made-up client in this setting): SSIM {float(result.twin.scores.ssim.mean()):.3f}")
    print(
        f"labels {', '.join(map(str, result.labels.tolist()))}; matching distance {result.distance:.3g} after "
        f"{result.iterations} iterations ({result.stop_reason})"
    )
    if scores is not None:
        print(f"SSIM {', '.join(f'{value:.3f}' for value in scores.ssim.tolist())}")
    print(f"wrote {args.out}/report.html")
    return 0
