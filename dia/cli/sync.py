"""``dia sync``: write the finished cells to MLflow."""

import argparse
import json
import os
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "sync",
        help="write the finished cells to MLflow",
        description="Write one MLflow run per finished cell. Running it again adds nothing; a cell that was "
        "computed again replaces its older run. Only one process may write at a time.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the config, YAML or JSON")
    parser.add_argument(
        "--job-list", type=Path, required=True, metavar="FILE", help="JSON lines from `dia cells`"
    )
    parser.add_argument(
        "--uri",
        help="MLflow tracking URI (default: the config's tracking.uri, then MLFLOW_TRACKING_URI, then the "
        "SQLite file results/<name>/mlflow.db)",
    )
    parser.add_argument("--experiment", metavar="NAME", help="default: the config's, then its name")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write here, as JSON, where the runs are")


def run(args: argparse.Namespace) -> int:
    """Sync."""
    from dia.config.config import Config
    from dia.errors import ConfigError
    from dia.reporting.tracking.sync import sync
    from dia.results.job_list import read_job_list, split_by_existence
    from dia.utils.files import atomic_path
    from dia.utils.secrets import check_address

    config = Config.from_file(args.config)
    try:
        uri = check_address(args.uri) if args.uri else None
    except ValueError as error:
        raise ConfigError(f"--uri: {error}") from None
    uri = uri or config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    uri = uri or f"sqlite:///{config.results / 'mlflow.db'}"
    experiment = args.experiment or config.tracking.experiment or config.name
    jobs = read_job_list(args.job_list)
    here, missing = split_by_existence(jobs)
    done = sync(here, uri=uri, experiment=experiment)
    if args.out is not None:
        with atomic_path(args.out) as temporary:
            temporary.write_text(
                json.dumps({"experiment": experiment, "runs": len(here), "page": done.page}) + "\n"
            )
    print(
        f"MLflow experiment {experiment}: {done.added} runs added, {done.replaced} replaced, "
        f"{done.unchanged} unchanged; {len(missing)} of {len(jobs)} cells have no result yet"
    )
    return 0
