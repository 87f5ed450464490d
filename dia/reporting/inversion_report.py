"""The folder that ``dia invert`` writes: pictures, ``result.parquet``, ``result.json`` and a one-page report."""

import base64
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dia import __version__
from dia.errors import RecordError
from dia.reporting.html_page import page
from dia.results.images import png_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from dia.inversion.result import Inversion, Scores

SCORES = ("ssim", "psnr", "mse")


def write_folder(
    folder: Path,
    result: "Inversion",
    origin: Mapping[str, str],
    private: "Tensor | None",
    scores: "Scores | None",
) -> None:
    """Write everything, or nothing.

    Args:
        folder: It must not exist.
        result: What was found.
        origin: Name -> file or text that the result came from.
        private: (N, C, H, W) the private images, where someone has them.
        scores: Of the reconstructions against those.

    Raises:
        RecordError: The folder exists, or cannot be written.
    """
    if folder.exists():
        raise RecordError(f"{folder} exists; give another --out, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{platform.node()}.{os.getpid()}.part")
    temporary.mkdir()
    try:
        pictures = _pictures(result, private, scores)
        for name, png in pictures.items():
            (temporary / name).write_bytes(png)
        summary = _summary(result, origin, scores)
        (temporary / "result.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        _write_rows(temporary / "result.parquet", result, summary, pictures)
        (temporary / "report.html").write_text(_report(summary, pictures), encoding="utf-8")
        temporary.rename(folder)
    except OSError as error:
        raise RecordError(f"cannot write {folder}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _pictures(result: "Inversion", private: "Tensor | None", scores: "Scores | None") -> dict[str, bytes]:
    """File name -> PNG; reconstructions in the order of the private images, where there are any."""
    images = result.images if scores is None else result.images[scores.order]
    groups = {"image": images, "original": private}
    if result.twin is not None:
        groups |= {"twin": result.twin.images, "twin_original": result.twin.private}
    return {
        f"{name}_{number:02d}.png": png_bytes(image.numpy())
        for name, group in groups.items()
        if group is not None
        for number, image in enumerate(group)
    }


def _summary(result: "Inversion", origin: Mapping[str, str], scores: "Scores | None") -> dict[str, Any]:
    """The result as JSON values; scores are null where there are no originals."""
    twin = result.twin
    imitation = twin and {
        "ssim": twin.scores.ssim.tolist(), "distance": twin.distance, "stop_reason": twin.stop_reason,
    }  # fmt: skip
    masks = {
        name: {"shape": list(mask.shape), "dropped": 1 - mask.double().mean().item()}
        for name, mask in result.masks.items()
    }
    return {
        "dia": __version__,
        "origin": dict(origin),
        "images": len(result.images),
        "labels": result.labels.tolist(),
        "distance": result.distance,
        "iterations": result.iterations,
        "stop_reason": result.stop_reason,
        "claimed": None if result.claimed is None else result.claimed.tolist(),
        "warnings": list(result.warnings),
        "notes": list(result.notes),
        **{name: None if scores is None else getattr(scores, name).tolist() for name in SCORES},
        "twin": imitation,
        "masks": masks,
        "gradient_norms": dict(result.gradient_norms),
        "settings": dict(result.settings),
        "seconds": result.seconds,
    }


def _write_rows(
    path: Path, result: "Inversion", summary: dict[str, Any], pictures: Mapping[str, bytes]
) -> None:
    """One row per image, in the order of the pictures."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from dia.results.arrow_arrays import arrow_array

    count = summary["images"]
    listed = {"label": ("labels", pa.int64()), "claimed": ("claimed", pa.bool_())}
    columns: dict[str, tuple[pa.DataType, Sequence[Any]]] = {"image": (pa.int64(), range(count))}
    for column, (key, kind) in (listed | {name: (name, pa.float64()) for name in SCORES}).items():
        columns[column] = (kind, summary[key] or [None] * count)
    for name, kind in (("distance", pa.float64()), ("iterations", pa.int64()), ("stop_reason", pa.string())):
        columns[name] = (kind, [summary[name]] * count)
    columns["warnings"] = (pa.string(), ["\n".join(summary["warnings"])] * count)
    columns["reconstruction_png"] = (
        pa.binary(),
        [pictures[f"image_{number:02d}.png"] for number in range(count)],
    )
    fields = [pa.field(name, kind) for name, (kind, _) in columns.items()]
    arrays = [
        arrow_array(list(values), field) for field, (_, values) in zip(fields, columns.values(), strict=True)
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), path)


def _report(summary: dict[str, Any], pictures: Mapping[str, bytes]) -> str:
    """The page: pictures first, then what speaks against them, then how they were found."""
    trust = (
        "Doubts, to be read before the pictures"
        if summary["warnings"]
        else "Nothing speaks against the pictures"
    )
    facts = {
        "labels": ", ".join(map(str, summary["labels"])),
        "matching distance": f"{summary['distance']:.3g}",
        "iterations": summary["iterations"],
        "stopped by": summary["stop_reason"],
        "SSIM": _scores(summary["ssim"]),
        "twin's SSIM": _scores(summary["twin"] and summary["twin"]["ssim"]),
        "proved images": "the attack proves none" if summary["claimed"] is None else sum(summary["claimed"]),
        "seconds": f"{summary['seconds']:.1f}",
        **summary["origin"],
    }
    norms = {name: f"{norm:.4g}" for name, norm in summary["gradient_norms"].items()}
    body = [
        "<h1>What one client's update gives away</h1>",
        f"<h2>{trust}</h2>",
        _items(summary["warnings"]),
        _gallery("Reconstructions", "image", pictures),
        _gallery("Private images", "original", pictures),
        _gallery("Twin: a made-up client in the same setting, attacked first", "twin", pictures),
        _gallery("The twin's own images", "twin_original", pictures),
        "<h2>Result</h2>",
        _table(facts),
        _items(summary["notes"]),
        "<h2>Norm of the gradient, by parameter</h2>",
        _table(norms),
        "<h2>Settings of the attack</h2>",
        _table(summary["settings"]),
    ]
    return page("dia invert", "\n".join(filter(None, body)))


def _scores(values: Sequence[float] | None) -> str:
    return "no originals" if values is None else ", ".join(f"{value:.3f}" for value in values)


def _items(lines: Sequence[str]) -> str:
    return f'<ul class="notes">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>' if lines else ""


def _table(rows: Mapping[str, Any]) -> str:
    cells = "".join(
        f'<tr><td>{escape(name)}</td><td class="text">{escape(str(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f"<table>{cells}</table>"


def _gallery(title: str, kind: str, pictures: Mapping[str, bytes]) -> str:
    """Pictures of one kind, embedded."""
    shown = [
        f'<img alt="{escape(name)}" height="140" style="image-rendering: pixelated; margin-right: .5rem" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        for name, png in pictures.items()
        if name.rpartition("_")[0] == kind
    ]
    return f"<h2>{escape(title)}</h2>\n<p>{''.join(shown)}</p>" if shown else ""
