"""A tracking store, opened once and written by one process."""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dia.errors import DiaError, TrackingError
from dia.utils.extras import DISTRIBUTION
from dia.utils.files import atomic_path
from dia.utils.secrets import hide_passwords, passwords

if TYPE_CHECKING:
    from mlflow import MlflowClient

# No reports to anybody, no waiting for minutes on a server that is down; the environment may say otherwise.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines per run
}


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite URI, None for any other."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


@contextmanager
def tracking_client(uri: str) -> Iterator["MlflowClient"]:
    """A client of the store; what MLflow or its database raises inside the block is a TrackingError.

    Raises:
        TrackingError: The store cannot be reached or written, or another process is writing to it; the message has no
            password.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    secrets = _secrets(uri)
    for noisy in ("alembic", "mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
        logging.getLogger(noisy).addFilter(_without(secrets))
    shown = hide_passwords(uri, secrets)
    try:
        from mlflow import MlflowClient

        database = sqlite_file(uri)
        with _only_writer(database):
            if database is not None and not (database.exists() and database.stat().st_size):
                _set_up(database)
            yield MlflowClient(tracking_uri=uri)
    except DiaError:
        raise
    except ImportError as error:  # MLflow itself, or a driver of its database
        raise TrackingError(
            f"the tracking store {shown} needs the Python package {error.name}: "
            f"pip install {_PACKAGES.get(error.name or '', error.name)}; the results are complete without it"
        ) from None
    except Exception as error:  # MLflow lets through whatever its database, its server or its parsers raise
        said = hide_passwords(" ".join(str(error).split())[:400], secrets)
        raise TrackingError(
            f"cannot write to the tracking store {shown}: {said or type(error).__name__}; "
            "the results are complete without it, sync again when it is back"
        ) from None


_PACKAGES = {
    "mlflow": f"'{DISTRIBUTION}[workflow]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
}
"""Python module -> the package that has it, where the names differ."""


def _secrets(uri: str) -> set[str]:
    """Everything that must not be shown: from the address and from the environment."""
    names = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD")
    return passwords(uri) | {os.environ[name] for name in names if os.environ.get(name)}


def _without(secrets: set[str]) -> Callable[[logging.LogRecord], bool]:
    """A filter that hides secrets in lines of a log."""

    def hide(record: logging.LogRecord) -> bool:
        record.msg, record.args = hide_passwords(record.getMessage(), secrets), ()
        return True

    return hide


def _set_up(database: Path) -> None:
    """Make an empty store beside and move it into place: a process that is killed meanwhile leaves no half of one."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for leftover in database.parent.glob(f".{database.stem}.*.part{database.suffix}*"):
        leftover.unlink()
    with atomic_path(database) as temporary:
        SqlAlchemyStore(f"sqlite:///{temporary}", "./mlruns").engine.dispose()


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
