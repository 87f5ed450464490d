"""Which finished cells another config would replace, and how that is said."""

from pathlib import Path

from helpers import result_rows

from dia.results.replacements import describe_replacements, find_replacements


def test_cells_of_other_settings_are_found_and_those_of_the_same_are_not(tmp_path: Path) -> None:
    cells = [result_rows.cell(seed=seed) for seed in range(3)]
    paths = [result_rows.write(tmp_path, cell) for cell in cells[:2]] + [tmp_path / "absent.parquet"]
    same = [(result_rows.job(cell), path) for cell, path in zip(cells, paths, strict=True)]
    assert find_replacements(same) == []

    changed = result_rows.job(cells[1], learning_rate=0.5, tv_weight=0.25)
    (found,) = find_replacements([same[0], (changed, paths[1]), same[2]])
    assert found.cell_id == cells[1].id
    assert found.changes == {"learning_rate": (0.1, 0.5), "tv_weight": (1e-5, 0.25)}
    assert describe_replacements([found]).splitlines() == [
        "1 finished cell will be replaced, because the config has other settings now than they were made with:",
        f"  {cells[1].id}: learning_rate 0.1 -> 0.5, tv_weight 1e-05 -> 0.25",
        "  To keep them, give the config another name; to replace them, add --config replace=true",
    ]
    message = describe_replacements([found] * 8)
    assert message.startswith("8 finished cells will be replaced")
    assert "... and 3 more" in message


def test_damaged_and_foreign_files_are_no_finished_cells(tmp_path: Path) -> None:
    cell = result_rows.cell()
    path = result_rows.write(tmp_path, cell)
    changed = result_rows.job(cell, learning_rate=0.5)
    content = path.read_bytes()
    for damaged in (b"", b"text", content[: len(content) // 2], content[:-20] + b"x" * 20):
        path.write_bytes(damaged)
        assert find_replacements([(changed, path)]) == []
