"""The content of a cell's run, read from the cell's file. It does not depend on MLflow."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.reporting.curves import mean_curve
from dia.results.cell_file import read_cell, read_pictures
from dia.results.columns import CHANCE, HISTORY, SCORES
from dia.settings.scenario import Settings

if TYPE_CHECKING:
    import pyarrow as pa

CURVE_POINTS = 30  # enough to look at; the rows keep more
PICTURED_VICTIMS = 8
_PROVENANCE = (
    "device",
    "device_name",
    "host",
    "git_commit",
    "code_fingerprint",
    "dia_version",
    "torch_version",
)
_MEANS = tuple(c.name for c in (*SCORES, *CHANCE) if c.type in ("float64", "int64"))
_CURVES = tuple(c.name for c in HISTORY if c.name != "history_iteration")


@dataclass(frozen=True, slots=True)
class RunContent:
    """A cell as a run.

    Attributes:
        params: Axes and settings.
        metrics: Means over victims, absent where no victim has the number.
        curves: Name -> (iterations, means over victims).
        tags: Provenance that all rows share.
        start: Start, seconds since the epoch.
        end: End, likewise.
    """

    params: dict[str, str]
    metrics: dict[str, float]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]
    tags: dict[str, str]
    start: float
    end: float


def run_content(job: AttackJob, path: Path) -> RunContent:
    """Read the content of a cell's run from its file.

    Raises:
        RecordError: The file is missing, damaged, or made for another job.
    """
    settings = tuple(Settings.model_fields)
    wanted = [*settings, *_MEANS, *_PROVENANCE, "source", "started_at", "history_iteration", *_CURVES]
    table = read_cell(path, job, wanted)
    first: dict[str, Any] = table.slice(0, 1).to_pylist()[0]
    params = {
        name: str(value) for name, value in {**job.cell.axes(), **{n: first[n] for n in settings}}.items()
    }
    tags = {f"dia.{name}": str(first[name]) for name in (*_PROVENANCE, "source")}
    start = datetime.fromisoformat(first["started_at"]).timestamp()
    return RunContent(
        params, _means(table), _curves(table), tags, start, start + float(table["seconds"].to_numpy().sum())
    )


def _means(table: "pa.Table") -> dict[str, float]:
    """The mean of each score and chance level over the victims that have it."""
    values = {name: table[name].drop_null().to_numpy() for name in _MEANS}
    return {name: float(column.mean()) for name, column in values.items() if len(column)}


def _curves(table: "pa.Table") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The mean curve of each history column that any victim has."""
    iterations = table["history_iteration"].to_pylist()
    curves = {
        f"curves/{name.removeprefix('history_')}": mean_curve(
            iterations, table[name].to_pylist(), CURVE_POINTS
        )
        for name in _CURVES
    }
    return {name: curve for name, curve in curves.items() if len(curve[0])}


def picture(expected: AttackJob | Cell, path: Path, side: int = 96) -> bytes:
    """Originals above reconstructions of the first victims, as one PNG; of a batch the first image.

    An image that there is none of is "n/a".

    Args:
        expected: The job that the file must be made for, or only the cell that it must hold.
        path: Its file.
        side: Smallest side of an image in pixels; small images are enlarged by whole factors, unsmoothed.
    """
    from dia.results.images import png_bytes

    victims = read_pictures(path, expected, PICTURED_VICTIMS)
    shape = victims[0]["image_shape"][1:]
    factor = max(1, -(-side // max(shape[1:])))
    rows = []
    for name in ("original", "reconstruction"):
        images = [
            _not_available(shape, factor)
            if victim[name] is None
            else victim[name][0].repeat(factor, axis=1).repeat(factor, axis=2)
            for victim in victims
        ]
        framed = [np.pad(image, ((0, 0), (2, 2), (2, 2)), constant_values=1) for image in images]
        rows.append(np.concatenate(framed, axis=2))
    return png_bytes(np.clip(np.concatenate(rows, axis=1), 0, 1))


def _not_available(shape: tuple[int, int, int], factor: int) -> np.ndarray:
    """A panel (C, H * factor, W * factor) that says "n/a"."""
    from PIL import Image, ImageDraw

    channels, height, width = shape
    panel = Image.new("L", (width * factor, height * factor), 235)
    ImageDraw.Draw(panel).text((panel.width / 2, panel.height / 2), "n/a", fill=0, anchor="mm")
    return np.broadcast_to(np.asarray(panel, np.float32) / 255, (channels, panel.height, panel.width))
