"""``dia document``: the tables in Markdown documents, written anew from the collected rows."""

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "document",
        help="write the tables in Markdown documents anew",
        description="Write anew what stands between <!-- dia table NAME AXIS=VALUE --> (or cells, or versions) and "
        "<!-- dia end --> in Markdown documents. Nothing else in them changes.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("documents", type=Path, nargs="+", metavar="FILE", help="the documents")
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the config: what is expected"
    )
    parser.add_argument("--results", type=Path, required=True, metavar="FILE", help="from `dia collect`")
    parser.add_argument(
        "--tables",
        type=Path,
        default=Path("config/tables"),
        metavar="DIR",
        help="the tables' declarations (default config/tables)",
    )


def run(args: argparse.Namespace) -> int:
    """Fill the documents."""
    from dia.config.config import Config
    from dia.errors import ConfigError
    from dia.reporting.collected_jobs import check_collected
    from dia.reporting.document import fill
    from dia.utils.files import atomic_path

    config = Config.from_file(args.config)
    check_collected(config, args.results)
    for path in args.documents:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from None
        filled = fill(text, config, args.results, args.tables, str(path))
        with atomic_path(path) as temporary:
            temporary.write_text(filled, encoding="utf-8")
    return 0
