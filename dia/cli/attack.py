"""``dia attack``: run one cell and write its rows."""

import argparse
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dia.attacks.optimisation.compilation import CompileSetting
    from dia.execution.signals import StopRequest
    from dia.federated.trained_model import TrainedModel
    from dia.jobs.attack_job import AttackJob

COMPILE: "dict[str, CompileSetting]" = {"auto": "auto", "true": True, "false": False}

HELP = "run one cell of the grid: attack all its victims and write one Parquet file"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("attack", help=HELP, description=HELP)
    parser.set_defaults(run=run)
    parser.add_argument("--job", required=True, metavar="JSON", help="the cell, its settings and dataset")
    parser.add_argument("--victims", type=Path, required=True, metavar="NPZ", help="the dataset's victim set")
    parser.add_argument("--out", type=Path, required=True, metavar="PARQUET", help="where the rows go")
    parser.add_argument(
        "--trained", type=Path, nargs="?", metavar="NPZ", help="the trained model, where the cell has one"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="NPZ", help="where the attack saves its state")
    parser.add_argument("--attempt", type=Path, metavar="JSON", help="where the attack notes how far it is")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument(
        "--exclusive-gpu",
        type=int,
        default=0,
        metavar="0|1",
        help="1: use a GPU that no other such job of this machine uses, and wait for one (default 0)",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads to use (default 1)")
    parser.add_argument(
        "--victims-per-chunk",
        default="auto",
        metavar="N",
        help="victims that share a pass; auto (default) chooses by the memory that a victim needs",
    )
    parser.add_argument(
        "--compile",
        default="auto",
        choices=tuple(COMPILE),
        help="compile the loss and its gradients; auto (default) compiles nothing yet",
    )
    parser.add_argument(
        "--compile-cache",
        type=Path,
        nargs="?",
        metavar="DIR",
        help="folder of compiled graphs (default: dia/compiled in ~/.cache)",
    )
    parser.add_argument(
        "--cuda-graph",
        default="false",
        choices=("true", "false"),
        help="replay the loss and its gradients as a CUDA graph (default false)",
    )


def run(args: argparse.Namespace) -> int:
    """Attack, score, write; whatever goes wrong is in the attempt record before it is printed."""
    from dia.errors import AttackInterrupted
    from dia.execution.attempts import AttemptRecord
    from dia.execution.code_version import code_fingerprint
    from dia.execution.signals import StopRequest

    stop = StopRequest()
    if args.checkpoint:  # before the heavy imports: a signal that comes early is not lost
        stop.install_handlers()
    code_fingerprint()  # before any of that code is imported
    from dia.jobs.attack_job import AttackJob

    job = AttackJob.parse(args.job)
    record = AttemptRecord(args.attempt, job.cell.id) if args.attempt else None
    try:
        _attack(args, job, record, stop)
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


def _attack(args: argparse.Namespace, job: "AttackJob", record: Any, stop: "StopRequest") -> None:
    from dia.execution.code_version import import_numeric_code
    from dia.utils.files import check_writable

    for path in filter(None, (args.out, args.checkpoint)):
        check_writable(path)
    import_numeric_code()
    from dia.datasets.registry import SOURCES
    from dia.errors import StorageError
    from dia.execution.checkpoint import Checkpointer
    from dia.execution.rescue import rescue_paths, write_when_there_is_room
    from dia.execution.run_cell import fingerprint, run_cell
    from dia.results.cell_file import write_cell
    from dia.utils.lazy_import import load_object
    from dia.utils.log import LOG, start_logging

    start_logging()
    held = _hold_gpu(args.device) if args.exclusive_gpu else None
    victim_set = load_object(SOURCES[job.dataset["source"]].victims).load(args.victims)
    trained = _trained(args.trained, job, victim_set.sha256)
    elsewhere = rescue_paths(fingerprint(job, victim_set), ".parquet")
    if _fetch(args.out, elsewhere, job):
        return
    checkpointer = None
    if args.checkpoint:
        checkpointer = Checkpointer(args.checkpoint, fingerprint(job, victim_set), LOG.warning, stop)
    rows = run_cell(
        job,
        victim_set,
        device=args.device,
        threads=args.threads,
        victims_per_chunk=_victims_per_pass(args.victims_per_chunk),
        compile=COMPILE[args.compile],
        compile_cache=args.compile_cache,
        cuda_graph=args.cuda_graph == "true",
        checkpointer=checkpointer,
        record=record,
        trained=trained,
    )
    if held:
        held.close()
    written = write_when_there_is_room(
        args.out, elsewhere, lambda path: write_cell(path, rows, job), LOG.warning, stop
    )
    if checkpointer:
        checkpointer.remove()
    if written != args.out:
        raise StorageError(
            f"{args.out} could not be written, so the finished cell is in {written}: free some space and run the cell "
            "again, which takes it from there"
        )
    LOG.info("wrote %s", args.out)


def _fetch(out: Path, elsewhere: list[Path], job: "AttackJob") -> bool:
    """Take a finished cell from where an earlier run had to leave it; whether there was one."""
    import shutil

    from dia.errors import RecordError
    from dia.results.cell_head import check_cell
    from dia.utils.files import atomic_path
    from dia.utils.log import LOG

    for path in (path for path in elsewhere if path.exists()):
        try:
            check_cell(path, job)
        except RecordError as error:
            LOG.warning("not used: %s", error)
            continue
        with atomic_path(out) as temporary:
            shutil.copyfile(path, temporary)
        path.unlink()
        LOG.info("%s is the cell that an earlier run finished and left in %s", out, path)
        return True
    return False


def _trained(path: Path | None, job: "AttackJob", victims_sha256: str) -> "TrainedModel | None":
    """The cell's model, checked to be the one that its settings describe."""
    from dia.federated.trained_model import TrainedModel
    from dia.jobs.training_job import TrainingJob

    if path is None:
        return None
    trained, wanted = TrainedModel.load(path), TrainingJob.from_attack(job)
    if wanted is not None:  # else the model is refused below, by the setting that asks for none
        trained.check(wanted.canonical_json(), victims_sha256, path)
    return trained


def _victims_per_pass(text: str) -> int | None:
    from dia.errors import ConfigError

    if text == "auto":
        return None
    if not (text.isdecimal() and int(text)):
        raise ConfigError(f"--victims-per-chunk is '{text}'; it must be auto or a whole number above 0")
    return int(text)


def _hold_gpu(device: str) -> IO[str] | None:
    """Bind this process to a GPU of its own, until the file returned is closed; None where there is none to bind."""
    from dia.execution.gpu_lock import acquire_gpu, visibility_variable, visible_gpus
    from dia.utils.log import LOG

    if device == "cpu" or not (
        gpus := visible_gpus()
    ):  # without any GPU, `cuda` is refused later with a reason
        return None
    gpu, lock = acquire_gpu(gpus, LOG.info)
    os.environ[visibility_variable()] = gpu  # before CUDA is initialised
    LOG.info("on GPU %s", gpu)
    return lock
