"""``dia attack``: run one cell and write its rows."""

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dia.checkpoint import Checkpointer
    from dia.job import Job

HELP = "run one cell of the grid: attack all its victims and write one Parquet file"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Slurm sends SIGTERM on preemption, scancel and at the time limit, and SIGUSR1 before it where asked to."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("attack", help=HELP, description=HELP)
    parser.add_argument("--job", required=True, metavar="JSON", help="the cell, its settings and dataset")
    parser.add_argument("--victims", type=Path, required=True, metavar="NPZ", help="the dataset's victim set")
    parser.add_argument("--out", type=Path, required=True, metavar="PARQUET", help="where the rows go")
    parser.add_argument("--checkpoint", type=Path, metavar="NPZ", help="where the attack saves its state")
    parser.add_argument("--attempt", type=Path, metavar="JSON", help="where the attack notes how far it is")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads to use (default 1)")
    parser.add_argument(
        "--victims-per-pass",
        default="auto",
        metavar="N",
        help="victims that share a pass; auto (default) chooses by free memory",
    )


def run(args: argparse.Namespace) -> int:
    """Attack, score, write; whatever goes wrong is in the attempt record before it is printed."""
    from dia.attempts import AttemptRecord
    from dia.errors import AttackInterrupted
    from dia.job import Job

    job = Job.parse(args.job)
    record = AttemptRecord(args.attempt, job.cell.id) if args.attempt else None
    try:
        _attack(args, job, record)
    except AttackInterrupted as error:
        if record:
            record.end("interrupted", str(error))
        raise
    except BaseException as error:
        if record:
            record.end("failed", f"{type(error).__name__}: {error}")
        raise
    if record:
        record.end("done")
    return 0


def _attack(args: argparse.Namespace, job: "Job", record: Any) -> None:
    from dia.cellrun import fingerprint, run_cell
    from dia.checkpoint import Checkpointer
    from dia.progress import LOG, start_logging
    from dia.records import write_cell
    from dia.victims.store import VictimSet

    start_logging()
    victim_set = VictimSet.load(args.victims)
    checkpointer = None
    if args.checkpoint:
        checkpointer = Checkpointer(args.checkpoint, fingerprint(job, victim_set), LOG.warning)
        _stop_on_signals(checkpointer)
    rows = run_cell(
        job,
        victim_set,
        device=args.device,
        threads=args.threads,
        victims_per_pass=_victims_per_pass(args.victims_per_pass),
        checkpointer=checkpointer,
        record=record,
    )
    write_cell(args.out, rows)
    if checkpointer:
        checkpointer.remove()
    LOG.info("wrote %s", args.out)


def _victims_per_pass(text: str) -> int | None:
    from dia.errors import ConfigError

    if text == "auto":
        return None
    if not (text.isdecimal() and int(text)):
        raise ConfigError(f"--victims-per-pass is '{text}'; it must be auto or a whole number above 0")
    return int(text)


def _stop_on_signals(checkpointer: "Checkpointer") -> None:
    """Let the attack finish its iteration, save and end; a second signal ends it at once."""

    def stop(number: int, frame: Any) -> None:
        checkpointer.stop = signal.Signals(number).name
        signal.signal(number, signal.SIG_DFL)

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
