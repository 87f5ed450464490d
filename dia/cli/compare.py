"""``dia compare``: two studies side by side, on the victims that they share."""

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "compare",
        help="compare two studies on the victims that they share",
        description="Compare two studies, such as results before and after an attack was changed: the victims of the "
        "cells that both have, paired differences with intervals, and what settings and code differ.",
    )
    parser.set_defaults(run=run)
    for name in ("A", "B"):
        parser.add_argument(
            name.lower(),
            type=Path,
            metavar=name,
            help="a results folder (results/NAME), or a file of `dia collect`",
        )
    parser.add_argument(
        "--score",
        action="append",
        metavar="COLUMN",
        help="a score to compare, any number of a row; may be repeated (default: ssim and matching_distance)",
    )
    parser.add_argument(
        "--by",
        default="scenario,dataset,model,dropout_rate,attack",
        metavar="AXIS,...",
        help="the axes of the groups (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="a .md, .html or .csv file (default: print Markdown)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the comparison, or write it."""
    from dia.errors import ConfigError
    from dia.jobs.cell import Cell
    from dia.reporting.compare import compare_studies, read_study
    from dia.reporting.compare_text import FORMATS
    from dia.reporting.tables.spec import MEASURES
    from dia.utils.files import atomic_path
    from dia.utils.validation_errors import unknown_name_message

    scores = list(dict.fromkeys(args.score or ("ssim", "matching_distance")))
    by = list(dict.fromkeys(args.by.split(",")))
    for option, kind, names, allowed in (
        ("--score", "score", scores, MEASURES),
        ("--by", "axis", by, Cell.AXES),
    ):
        if unknown := [name for name in names if name not in allowed]:
            raise ConfigError(f"{option}: {unknown_name_message(kind, unknown[0], allowed)}")
    suffix = ".md" if args.out is None else args.out.suffix
    if suffix not in FORMATS:
        raise ConfigError(f"--out {args.out}: {unknown_name_message('format', suffix, FORMATS)}")
    compared = compare_studies(read_study(args.a, scores), read_study(args.b, scores), by, scores)
    text = FORMATS[suffix](compared, (str(args.a), str(args.b)))
    if args.out is None:
        print(text, end="")
        return 0
    with atomic_path(args.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return 0
