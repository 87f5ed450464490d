"""Bring the runs of an experiment in line with the cells on disk; doing it twice changes nothing."""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dia.errors import RecordError
from dia.jobs.attack_job import AttackJob
from dia.reporting.tracking.content import RunContent, picture, run_content
from dia.reporting.tracking.store import experiment_id, sqlite_file, tracking_client
from dia.reporting.tracking.view import set_default_view
from dia.results.cell_head import check_cell, refuse_cells
from dia.utils.progress_bar import progress_bar

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

KIND, CELL_ID, CONTENT, PATH = "dia.kind", "dia.cell_id", "dia.content", "dia.path"


@dataclass
class SyncSummary:
    """The result of a sync.

    Attributes:
        added: Runs of cells that had none.
        replaced: Runs that replaced an older one of the same cell.
        unchanged: Runs that already held the cell's content.
        page: Address of the view of the runs, below that of a server.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    page: str = field(default="", compare=False)


def sync(
    jobs: Sequence[tuple[AttackJob, Path]], *, uri: str, experiment: str, artifacts: Path | None = None
) -> SyncSummary:
    """Write one run per cell, all side by side.

    A cell whose run holds the same content is left alone. When a cell was computed again, its new run is
    written first and the old one deleted then, so that browsing shows one run per cell. A run that an
    interrupted sync left unfinished is replaced.

    Args:
        jobs: The cells' jobs with their files.
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        artifacts: Folder of the pictures; None: beside a SQLite file, or where the server keeps them.

    Raises:
        TrackingError: The store cannot be reached or written. Runs written so far stay.
        RecordError: Cells are not done: their files are missing, damaged, edited, or made for another job. All other
            cells have their runs.
    """
    database = sqlite_file(uri)
    if artifacts is None and database is not None:
        artifacts = database.parent / "artifacts"
    done, faults = SyncSummary(), list[str]()
    with tracking_client(uri) as client, progress_bar("cell") as bar:
        where = experiment_id(client, experiment, artifacts)
        runs = _existing_runs(client, where)
        task = bar.add_task("mlflow", total=len(jobs))
        for job, path in jobs:
            try:
                content = check_cell(path, job).content
            except RecordError as error:
                faults.append(str(error))
                continue
            older = runs.pop(job.cell.id, [])
            kept = next((run for run in older if _is_current(run, content)), None)
            if kept is None:
                _write(client, where, job, path, content)
            for run in older:
                if run is not kept:
                    client.delete_run(run.info.run_id)
            done.unchanged += kept is not None
            done.replaced += kept is None and bool(older)
            done.added += kept is None and not older
            bar.update(task, advance=1, refresh=True)
        done.page = set_default_view(client, where)
    refuse_cells(faults, len(jobs))
    return done


def _is_current(run: "Run", content: str) -> bool:
    """Tell whether a run has this content and is complete: its status is written last."""
    return run.info.status == "FINISHED" and run.data.tags.get(CONTENT) == content


def _existing_runs(client: "MlflowClient", experiment: str) -> dict[str, list["Run"]]:
    """The live runs by cell id."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for run in _search(client, experiment):
        if run.data.tags.get(KIND) == "cell":
            runs[run.data.tags[CELL_ID]].append(run)
    return dict(runs)


def _search(client: "MlflowClient", experiment: str) -> Iterator["Run"]:
    """All live runs of an experiment, page by page."""
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _write(client: "MlflowClient", experiment: str, job: AttackJob, path: Path, content: str) -> None:
    """Write a cell's run; its final status, which makes it count, comes last."""
    from mlflow.entities import Param

    cell, run = job.cell, run_content(job, path)
    tags = {
        KIND: "cell",
        CELL_ID: cell.id,
        CONTENT: content,
        PATH: str(path),
        "mlflow.user": "dia",
        "mlflow.source.name": "dia sync",
        **run.tags,
    }
    scenario = () if cell.scenario == "default" else (cell.scenario,)
    axes = (*scenario, cell.dataset, cell.model, f"p {cell.dropout_rate}", cell.attack, f"seed {cell.seed}")
    name = ", ".join(axes)
    created = client.create_run(experiment, start_time=round(run.start * 1000), tags=tags, run_name=name)
    run_id = created.info.run_id
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "reconstructions.png")
        file.write_bytes(picture(job, path))
        client.log_artifact(run_id, str(file))
    client.log_batch(
        run_id,
        metrics=_metrics(run),
        params=[Param(key, value) for key, value in run.params.items()],
    )
    client.set_terminated(run_id, end_time=round(run.end * 1000))


def _metrics(run: RunContent) -> list["Metric"]:
    """MLflow's metrics: means as single values, curves as values over iterations."""
    from mlflow.entities import Metric

    end = round(run.end * 1000)
    metrics = [Metric(name, value, end, 0) for name, value in run.metrics.items()]
    for name, (iterations, values) in run.curves.items():
        # MLflow draws a metric over its steps; the time only has to ascend with them.
        metrics += [
            Metric(name, float(value), end, int(step)) for step, value in zip(iterations, values, strict=True)
        ]
    return metrics
