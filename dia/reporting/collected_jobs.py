"""Collected rows belong to the jobs of the config that they are shown for, and to no others."""

from pathlib import Path
from typing import TYPE_CHECKING

from dia.config.jobs import attack_job
from dia.errors import RecordError
from dia.results.cell_head import as_text
from dia.results.collected import JOB_HASH, read_results

if TYPE_CHECKING:
    from dia.config.config import Config
    from dia.jobs.attack_job import AttackJob


def check_collected(config: "Config", results: str | Path) -> None:
    """See that collected rows were made for the jobs of a config; cells that are missing are no fault.

    Raises:
        RecordError: The file cannot be read, or has rows of other cells, or of cells that were made with other
            settings.
    """
    jobs = {cell.id: cell for cell in config.cells}
    table = read_results(results, ["cell_id", JOB_HASH])
    found = dict(zip(table["cell_id"].to_pylist(), table[JOB_HASH].to_pylist(), strict=True))
    if foreign := [cell for cell in found if cell not in jobs]:
        raise RecordError(
            f"{results}: {len(foreign)} cells are not in the config, such as {foreign[0]}; collect again"
        )
    for cell, made_for in found.items():
        job = attack_job(config, jobs[cell])
        if job.sha256 != made_for:
            raise RecordError(
                f"{results}: {cell} was made with other settings than the config has: {_differences(results, job)}; "
                "run it again and collect again"
            )


def _differences(results: str | Path, job: "AttackJob") -> str:
    """The settings in which a cell's rows differ from its job, as the rows have them."""
    wanted = job.settings.model_dump(mode="json") | {"model_definition": job.model_definition}
    table = read_results(results)
    wanted = {
        name: value for name, value in wanted.items() if name in table.column_names
    }  # others came later
    number = table["cell_id"].to_pylist().index(job.cell.id)
    said = {name: table[name][number].as_py() for name in wanted}
    different = [f"{name} {said[name]}" for name in wanted if as_text(said[name]) != as_text(wanted[name])]
    return ", ".join(different) or "another definition of its dataset"
