"""Cells that are not what the config asks for: no table shows them, and what was made before stays in place."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from helpers.fault_configs import CELLS, IG, QUICK, WIIG, grid, mapping
from helpers.workplace import Workplace

MADE = ("results.parquet", "tables/scenarios.md", "tables/scenarios.csv")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Two quick cells with their table."""
    workplace = Workplace(tmp_path_factory.mktemp("done"))
    workplace.snakemake("--configfile", workplace.config(mapping(grid("quick", "ig", "wiig"))))
    return workplace


def made(workplace: Workplace) -> dict[str, bytes]:
    """The results and tables, as they are."""
    return {name: (workplace.folder / "results/faults" / name).read_bytes() for name in MADE}


def partial_table(workplace: Workplace, config: Path) -> str:
    """What `snakemake partial` makes, without an attack."""
    assert "rule attack" not in workplace.snakemake("partial", "--configfile", config)
    return (workplace.folder / "results/faults/partial/tables/scenarios.md").read_text()


def test_an_edited_cell_stops_the_collection_and_leaves_what_was_collected(finished: Workplace) -> None:
    config, path = finished.folder / "config.yaml", finished.folder / CELLS / f"{WIIG}.parquet"
    before, whole = made(finished), path.read_bytes()
    table = pq.read_table(path)
    field = table.schema.field("ssim")
    edited: pa.Table = table.set_column(table.column_names.index("ssim"), field, pc.add(table["ssim"], 1.0))
    pq.write_table(edited, path)

    reason = "written again by something else than dia"
    for _ in range(2):  # the second run does not take the kept file for a new one
        printed = finished.snakemake("--configfile", config, status=1)
        assert f"{CELLS}/{WIIG}.parquet: {reason}" in printed, printed
        assert "Restored previous version of results/faults/results.parquet" in printed, printed
        assert made(finished) == before
    assert f"1 of 2 cells; missing: {WIIG} ({reason}" in partial_table(finished, config)

    path.write_bytes(whole)
    finished.snakemake("--configfile", config)
    assert made(finished)["tables/scenarios.md"] == before["tables/scenarios.md"]
    assert "2 of 2 cells" in partial_table(finished, config)


def test_cells_of_other_settings_are_refused_where_snakemake_has_lost_its_records(
    finished: Workplace,
) -> None:
    """Moved to another folder without .snakemake, say, and then a setting is changed."""
    before = made(finished)
    shutil.rmtree(finished.folder / ".snakemake")
    scenarios = {"quick": QUICK | {"max_iterations": 11}, "long": QUICK, "bad": QUICK, "four": QUICK}
    config = finished.config(mapping(grid("quick", "ig", "wiig"), scenarios=scenarios))
    for _ in range(2):
        printed = finished.snakemake("--configfile", config, status=1)
        assert "2 of 2 cells cannot be used:" in printed
        for cell in (IG, WIIG):
            assert f"{CELLS}/{cell}.parquet: made with other settings: {{'max_iterations': 10}}" in printed
        assert made(finished) == before
    assert "0 of 2 cells" in partial_table(finished, config)

    for cell in (IG, WIIG):
        (finished.folder / CELLS / f"{cell}.parquet").unlink()
    finished.snakemake("--configfile", config)
    assert "max_iterations 11" in made(finished)["tables/scenarios.md"].decode()
