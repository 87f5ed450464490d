"""What a job's hash depends on."""

import pytest
from helpers import result_rows

from dia.jobs.attack_job import AttackJob
from dia.settings.scenario import Settings


class LaterSettings(Settings):
    """The settings of a later version."""

    later: int = 3


def job_with(settings: Settings) -> AttackJob:
    return result_rows.job(result_rows.cell()).model_copy(update={"settings": settings})


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_setting_that_comes_later_changes_no_hash_until_it_is_used() -> None:
    written = {"victims": 2, "max_iterations": 7}
    now = job_with(Settings(**written)).sha256
    assert job_with(LaterSettings(**written)).sha256 == now
    assert job_with(LaterSettings(**written, later=4)).sha256 != now


def test_every_setting_and_the_cell_count() -> None:
    hashes = {job_with(Settings(max_iterations=n)).sha256 for n in (5, 6, 20_000)}
    hashes |= {result_rows.job(result_rows.cell(seed=seed)).sha256 for seed in (1, 2)}
    assert len(hashes) == 5
    assert job_with(Settings(learning_rate=0.1)).sha256 == job_with(Settings()).sha256
