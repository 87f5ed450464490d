"""A tracking store, opened once and written by one process."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dia.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

# No reports to anybody, no waiting for minutes on a server that is down; the environment may say otherwise.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a run
}


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite URI, None for any other."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


@contextmanager
def tracking_client(uri: str) -> Iterator["MlflowClient"]:
    """A client of the store; what MLflow or its database raises inside the block is a TrackingError.

    Raises:
        TrackingError: The store cannot be reached or written, or another process is writing to it.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with _only_writer(sqlite_file(uri)):
            yield MlflowClient(tracking_uri=uri)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(
            f"cannot write to the tracking store {_public(uri)}: {' '.join(str(error).split())[:400]}; "
            "the results are complete without it, sync again when it is back"
        ) from error


@contextmanager
def _only_writer(database: Path | None) -> Iterator[None]:
    """Hold a lock beside a SQLite file: processes that set it up at the same time would corrupt it."""
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f".{database.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrackingError(f"{database}: another process is syncing to it; wait for it to end") from None
        yield


def experiment_id(client: "MlflowClient", name: str, artifacts: Path | None) -> str:
    """The experiment of this name, made or restored where needed.

    Args:
        client: The store.
        name: The experiment's name.
        artifacts: Folder of its pictures; None: where the server keeps them.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = None if artifacts is None else artifacts.resolve().as_uri()
        return str(client.create_experiment(name, artifact_location=location))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def _public(uri: str) -> str:
    """A URI with its password hidden."""
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":...@") if password else uri
