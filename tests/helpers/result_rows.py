"""Made-up rows for the tests of records, tables, figures and tracking."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dia.attacks.stop_reasons import is_scored
from dia.datasets.registry import parse_dataset
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.results.cell_file import write_cell
from dia.results.columns import OF_RECONSTRUCTION
from dia.results.images import picture_columns
from dia.settings.scenario import Settings

UNSCORED = (
    *(column.name for column in OF_RECONSTRUCTION),
    "claimed_fraction",
    "reconstruction",
    "reconstruction_png",
)
"""Columns that are empty for a victim without a reconstruction."""


def cell(**axes: Any) -> Cell:
    """A cell: mnist, mlp, p = 0.50, dia, seed 0, but for the given axes."""
    default = dict(
        scenario="default", dataset="mnist", model="mlp", dropout_rate="0.50", attack="dia", seed=0
    )
    return Cell(**(default | axes))


def rows(
    of: Cell, ssim: Sequence[float] = (0.9, 0.5), images: int = 1, **changes: Any
) -> list[dict[str, Any]]:
    """One row per entry of ``ssim``; mse is 1 - ssim, psnr 10 * ssim; ``changes`` overwrite columns."""
    settings = Settings(victims=len(ssim), batch_size=images).model_dump()
    made = []
    for number, score in enumerate(ssim):
        generator = np.random.default_rng(number)
        original = generator.random((images, 1, 8, 8), dtype=np.float32)
        row: dict[str, Any] = {"cell_id": of.id, **of.axes(), **settings}
        row |= {
            "model_definition": "",
            "victim_id": f"{number:04d}",
            "labels": [number % 10] * images,
            "update_file": None,
            "update_sha256": None,
            "source": "made up",
            "source_indices": list(range(number * images, (number + 1) * images)),
            "victims_sha256": "v" * 64,
            "mse": 1 - score,
            "psnr": 10 * score,
            "ssim": score,
            "success": float(score >= 0.6),
            "mse_per_image": [1 - score] * images,
            "psnr_per_image": [10 * score] * images,
            "ssim_per_image": [score] * images,
            "mse_normalised": 10 * (1 - score),
            "matching_distance": 0.1 * (1 - score),
            "total_loss": 0.2 * (1 - score),
            "iterations": 100 + number,
            "best_iteration": 99,
            "restart": 0,
            "stop_reason": "max_iterations",
            "seconds": 2.0,
            "notes": "",
            "gradient_norm": 0.25,
            "identified": float(score >= 0.6),
            "identified_chance": 1 / len(ssim),
            "lpips": None,
            "mse_mean_image": 0.07,
            "psnr_mean_image": 11.5,
            "ssim_mean_image": 0.2,
            "mse_same_class": 0.08 if number else float("nan"),
            "psnr_same_class": 11.0 if number else None,
            "ssim_same_class": 0.3 if number else None,
            "mask_accuracy": 0.95 if of.attack == "dia" else None,
            "mask_accuracy_chance": 0.5 if of.attack == "dia" else None,
            "dropout_rate_estimate": None,
            "claimed_fraction": None,
            "worst_claim_cosine": None,
            "label_accuracy": None,
            "label_accuracy_chance": None,
            "test_accuracy": None,
            "test_accuracy_chance": None,
            "history_iteration": np.arange(0, 100, 10),
            "history_total_loss": np.linspace(1, 0.2 * (1 - score), 10),
            "history_matching_distance": np.linspace(1, 0.1 * (1 - score), 10),
            "history_mse": np.linspace(0.3, 1 - score, 10),
            "history_mask_accuracy": np.linspace(0.5, 0.95, 10) if of.attack == "dia" else [],
            "dia_version": "0.2.0",
            "torch_version": "2.13.0",
            "python_version": "3.11.2",
            "device": "cpu",
            "device_name": "some processor",
            "threads": 1,
            "victims_per_chunk": len(ssim),
            "victims_per_chunk_setting": "auto",
            "compiled": False,
            "compile_setting": "auto",
            "compile_fallback": "",
            "cuda_graph": False,
            "cuda_graph_fallback": "",
            "peak_memory_mb": 300.0,
            "host": "here",
            "git_commit": "0" * 40,
            "code_fingerprint": "f" * 64,
            "started_at": "2026-11-02T10:00:00+00:00",
        }
        row |= picture_columns(original.shape, original, np.clip(score * original, 0, 1)) | changes
        if not is_scored(row["stop_reason"]):
            row |= dict.fromkeys(UNSCORED)
        made.append(row)
    return made


def job(of: Cell, victims: int = 2, images: int = 1, model: Any = None, **changes: Any) -> AttackJob:
    """The job that made-up rows are made for: 16 images of bundled-mnist; ``changes`` are settings."""
    settings = Settings(**({"victims": victims, "batch_size": images} | changes))
    dataset = parse_dataset('{"source": "bundled-mnist", "images": 16}', of.dataset)
    return AttackJob.from_config(of, settings, dataset.model_dump(mode="json"), model)


def made(
    folder: Path, of: Cell, ssim: Sequence[float] = (0.9, 0.5), images: int = 1, **changes: Any
) -> tuple[AttackJob, Path]:
    """Write the made-up rows of a cell to its path below ``folder``; the job and the file."""
    settings = {name: value for name, value in changes.items() if name in Settings.model_fields}
    pair = job(of, len(ssim), images, **settings), folder / of.path
    write_cell(pair[1], rows(of, ssim, images, **changes), pair[0])
    return pair


def write(folder: Path, of: Cell, ssim: Sequence[float] = (0.9, 0.5), **changes: Any) -> Path:
    """Write the made-up rows of a cell to its path below ``folder``."""
    return made(folder, of, ssim, **changes)[1]
