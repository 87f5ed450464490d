"""The code and machines of a run: lines that the summary and documents share."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "cell_id", "source", "dataset", "iterations", "seconds", "device", "device_name", "threads", "host", "dia_version",
    "torch_version", "python_version", "git_commit", "code_fingerprint", "started_at",
)  # fmt: skip
"""The columns of the results that these lines are made from."""

VERSIONS = ("cells", "machine", "device", "threads", "dia", "torch", "Python", "commit", "code")
"""The headings of :func:`versions`."""


def totals(frame: "pd.DataFrame", done: int) -> list[tuple[str, str]]:
    """The size of the run: victims, images, iterations, time."""
    if not done:
        return [("victims attacked", "0")]
    seconds, iterations = frame["seconds"].sum(), int(frame["iterations"].sum())
    sources = frame[["dataset", "source"]].drop_duplicates().itertuples(index=False)
    return [
        ("victims attacked", f"{len(frame):,}"),
        ("images", "; ".join(f"{dataset} from {source}" for dataset, source in sources)),
        ("victim-iterations", f"{iterations:,}"),
        ("time of attack, all jobs together", f"{seconds:,.0f} s, {seconds / 3600:,.1f} h"),
        ("first cell started", frame["started_at"].min()),
        ("last cell started", frame["started_at"].max()),
    ]


def versions(frame: "pd.DataFrame") -> list[tuple[str, ...]]:
    """The number of cells by machine, software versions and code."""
    keys = ["host", "device_name", "threads", "dia_version", "torch_version", "python_version", "git_commit"]
    groups = frame.groupby([*keys, "code_fingerprint"], sort=False)["cell_id"].nunique()
    return [
        (str(cells), str(host), str(name), str(threads), dia, torch, python, _short(commit), code[:12])
        for (host, name, threads, dia, torch, python, commit, code), cells in groups.items()
    ]


def _short(commit: str) -> str:
    """A commit's first 12 characters, and ``-dirty`` where it has that."""
    head, _, dirty = commit.partition("-")
    return f"{head[:12]}{'-' if dirty else ''}{dirty}"
