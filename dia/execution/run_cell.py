"""Run one cell: build the experiment, attack, score; rows ready to be written."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from dia.attacks.optimisation.compilation import Compilation, CompileSetting
from dia.attacks.optimisation.graph_replay import GraphReplay
from dia.attacks.optimisation.state import SearchProgress, SearchState
from dia.attacks.outcome import Outcome
from dia.attacks.registry import get_attack
from dia.attacks.stop_reasons import FAILED, WITHOUT_ATTACK
from dia.errors import AttackError, DiaError
from dia.evaluation.chance_levels import CHANCE_LEVELS, chance_levels
from dia.evaluation.experiment import Experiment, victim_id
from dia.evaluation.history import Curves
from dia.evaluation.lpips import check_weights
from dia.evaluation.scores import score
from dia.execution.attempts import AttemptRecord
from dia.execution.checkpoint import Checkpointer
from dia.execution.code_version import code_fingerprint
from dia.execution.progress import Progress
from dia.execution.provenance import peak_memory_mb, provenance
from dia.execution.torch_setup import configure_torch
from dia.federated.trained_model import TrainedModel
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.models.dropout import describe_sites
from dia.results.images import picture_columns
from dia.utils.devices import is_out_of_memory
from dia.utils.lazy_import import load_object
from dia.utils.log import LOG
from dia.utils.text import shorten


class Victims(Protocol):
    """A victim set of any source.

    Attributes:
        source: Key of the source.
        experiment: ``module:name`` of the function that makes a cell's experiment from it.
    """

    source: str
    experiment: ClassVar[str]

    @property
    def sha256(self) -> str:
        """Hash of what determines results."""

    def columns(self, number: int, images: int) -> dict[str, Any]:
        """Columns of the row of a victim of so many images."""


UTILITY_COLUMNS = ("test_accuracy", "test_accuracy_chance")
"""Columns about the attacked model, where it was trained."""


def run_cell(
    job: AttackJob,
    victim_set: Victims,
    *,
    device: str,
    threads: int,
    victims_per_chunk: int | None,
    compile: CompileSetting = "auto",
    compile_cache: Path | None = None,
    cuda_graph: bool = False,
    checkpointer: Checkpointer | None = None,
    record: AttemptRecord | None = None,
    trained: TrainedModel | None = None,
) -> list[dict[str, Any]]:
    """Attack every victim of a cell; one row each (see :mod:`dia.results`).

    Args:
        job: The cell and its settings.
        victim_set: The victim set of its dataset.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: CPU threads to use.
        victims_per_chunk: How many victims share a batch; None chooses by the memory that one needs.
        compile: Whether to compile the loss and its gradients; ``auto`` compiles nothing yet.
        compile_cache: Folder of compiled graphs; None for the user's own,
            see :func:`dia.attacks.optimisation.compilation.default_cache`.
        cuda_graph: Whether to replay the loss and its gradients as a CUDA graph.
        checkpointer: Restores and writes the cell's checkpoint.
        record: Is kept informed of how far the attack is.
        trained: The trained model, where the settings ask for one.

    Raises:
        AttackInterrupted: The checkpointer was told to stop; the state is saved.
        DiaError: Bad input, a missing device, or an attack that cannot go on; the message names the cell.
    """
    with _naming(job.cell):
        where = configure_torch(job.settings, device, threads)
        began = provenance(torch=torch, device=str(where), threads=threads)
        check_weights(job.settings.lpips_network)
        LOG.info("cell %s: %d victims on %s", job.cell.id, job.settings.victims, began["device_name"])
        build_experiment = load_object(victim_set.experiment)
        experiment: Experiment = build_experiment(job, victim_set, where, trained)
        LOG.info("%s", describe_sites(experiment.problem.model.sites))
        compilation, graphs = Compilation(compile, compile_cache), GraphReplay(cuda_graph)
        outcome, curves = attack(
            job, experiment, victims_per_chunk, compilation, graphs, checkpointer, record
        )
        began |= {
            "victims_per_chunk": outcome.victims_per_chunk,
            "victims_per_chunk_setting": str(victims_per_chunk or "auto"),
            "compiled": compilation.used_throughout,
            "compile_setting": str(compile).lower(),
            "compile_fallback": compilation.fallback,
            "cuda_graph": graphs.replayed,
            "cuda_graph_fallback": graphs.fallback,
            "peak_memory_mb": peak_memory_mb(torch, str(where)),
        }
        rows = score(experiment, outcome)
        _report_failures(rows)
        utility = {name: None if trained is None else trained.utility[name] for name in UTILITY_COLUMNS}
        levels: dict[str, Any] = dict.fromkeys(CHANCE_LEVELS, [None] * len(rows))
        if experiment.population is not None:
            levels = chance_levels(experiment.population, len(rows), job.settings.batch_size)
            levels = {name: values.tolist() for name, values in levels.items()}
    for number, row in enumerate(rows):
        original = experiment.all_originals[number]
        true = original.numpy() if bool(original.isfinite().all()) else None
        row |= picture_columns(original.shape, true, row.pop("pixels"))
        row |= _columns(job, victim_set, number) | began | {"labels": experiment.all_labels[number]}
        failed = row["stop_reason"].startswith(WITHOUT_ATTACK)
        row |= curves.columns(None if failed else experiment.numbers.index(number), row["restart"])
        row |= utility | {name: values[number] for name, values in levels.items()}
    return rows


@contextmanager
def _naming(cell: Cell) -> Iterator[None]:
    """Put the cell's name before the message of every error that a user can act on."""
    try:
        yield
    except DiaError as error:
        raise type(error)(f"cell {cell.id}: {error}") from error
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise AttackError(
            f"cell {cell.id}: out of memory outside the iterations, where there are no chunks to halve; lower "
            f"batch_size or victims, or use a device with more: {error}"
        ) from error


def fingerprint(job: AttackJob, victim_set: Victims) -> str:
    """The owner of a checkpoint: the cell with its settings, the victims' content the code and torch."""
    text = "\n".join([job.canonical_json(), victim_set.sha256, code_fingerprint(), str(torch.__version__)])
    return hashlib.sha256(text.encode()).hexdigest()


def attack(
    job: AttackJob,
    experiment: Experiment,
    victims_per_chunk: int | None,
    compilation: Compilation,
    graphs: GraphReplay,
    checkpointer: Checkpointer | None,
    record: AttemptRecord | None,
) -> tuple[Outcome, Curves]:
    """Run the cell's attack, observed; continue from its checkpoint, if there is one."""
    settings, problem = job.settings, experiment.problem
    if not len(problem):  # every update was refused: the rows say why
        return Outcome.of_nobody(), Curves(experiment, 1, False)
    prepared = get_attack(job.cell.attack)(problem, victims_per_chunk)
    every = max(1, settings.max_iterations // settings.history_points)
    curves = Curves(experiment, every, prepared.optimises_masks)
    progress = Progress(job.cell.id, settings.victims * settings.restarts, settings.max_iterations)

    def observe(state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None:
        curves(state, total_loss, matching_distance)
        progress(state, total_loss, matching_distance)

    def on_iteration(search: SearchProgress) -> None:
        if record is not None:
            current = search.active[0]
            record.heartbeat(
                current.iteration, search.victims_remaining, lambda: float(current.best.loss.median())
            )
        if checkpointer is not None:
            checkpointer.on_iteration(search, curves)

    resume = None if checkpointer is None else checkpointer.restore(curves, prepared.check)
    try:
        outcome = prepared.run(
            observe=observe,
            on_iteration=on_iteration,
            notify=LOG.warning,
            resume=resume,
            compilation=compilation,
            graphs=graphs,
        )
    finally:
        progress.close()
    if problem.model.per_victim_parameters:
        note = f"gradients one victim at a time for {', '.join(problem.model.per_victim_parameters)}"
        LOG.warning(note)
        outcome.notes.append(note)
    return outcome, curves


def _report_failures(rows: list[dict[str, Any]]) -> None:
    """Name the victims that failed.

    Raises:
        AttackError: All of them did.
    """
    failed = {n: row["stop_reason"] for n, row in enumerate(rows) if row["stop_reason"].startswith(FAILED)}
    if not failed:
        return
    reasons: dict[str, list[str]] = {}
    for number, reason in failed.items():
        reasons.setdefault(reason.removeprefix(f"{FAILED}: "), []).append(f"{number:04d}")
    named = "; ".join(f"victim {shorten(names, 10)}: {reason}" for reason, names in reasons.items())
    text = f"{len(failed)} of {len(rows)} victims failed ({named})"
    if len(failed) == len(rows):
        raise AttackError(text)
    LOG.warning(text)


def _columns(job: AttackJob, victim_set: Victims, number: int) -> dict[str, Any]:
    """Identity, victim and settings columns of one row."""
    return {
        "cell_id": job.cell.id,
        **job.cell.axes(),
        "model_definition": job.model_definition,
        **job.settings.model_dump(mode="json"),
        "victim_id": victim_id(number),
        "source": victim_set.source,
        "victims_sha256": victim_set.sha256,
        **victim_set.columns(number, job.settings.batch_size),
    }
