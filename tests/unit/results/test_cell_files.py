"""The row schema, and cell files that are whole or refused."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import result_rows
from PIL import Image
from pydantic import BaseModel, Field

from dia.errors import RecordError
from dia.results.cell_file import PICTURE_NAMES, read_cell, read_pictures, write_cell
from dia.results.cell_head import CONTENT, HEAD, check_cell, hash_of_content
from dia.results.collected import collect, read_results
from dia.results.columns import schema, settings_columns
from dia.results.images import png_bytes
from dia.settings.scenario import Settings


def test_every_setting_is_a_column_of_its_type() -> None:
    for name, info in Settings.model_fields.items():
        field = schema().field(name)
        kinds = set(get_args(info.annotation)) or {info.annotation}
        kinds = {get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in kinds}
        optional = type(None) in kinds
        kind = (kinds - {type(None)}).pop() if len(kinds) == 1 + optional else str
        wanted = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}.get(kind, pa.string())
        assert field.type == wanted, name
        assert field.nullable == optional, name


def test_settings_that_are_no_plain_value_become_text() -> None:
    class Later(BaseModel):
        rate: float | None = Field(None, description="a rate")
        kind: Literal["a", "b"] = "a"
        defences: tuple[str, ...] = ()

    columns = {column.name: column for column in settings_columns(Later)}
    assert (columns["rate"].type, columns["rate"].nullable) == ("float64", True)
    assert columns["rate"].meaning == "a rate"
    assert (columns["kind"].type, columns["kind"].nullable) == ("str", False)
    assert columns["defences"].type == "str"


def test_a_setting_may_not_take_a_fixed_column() -> None:
    class Clash(BaseModel):
        ssim: float = 0.0

    with pytest.raises(TypeError, match="ssim"):
        settings_columns(Clash)


def test_a_cell_comes_back_as_it_was_written(tmp_path: Path) -> None:
    cell = result_rows.cell()
    rows = result_rows.rows(cell, ssim=[0.9, 0.5, 0.25], images=2)
    write_cell(tmp_path / cell.path, rows, result_rows.job(cell, 3, 2))
    back = read_cell(tmp_path / cell.path, cell).to_pylist()
    assert len(back) == 3
    for row, read in zip(rows, back, strict=True):
        assert list(read) == schema().names
        for name, value in row.items():
            if isinstance(value, np.ndarray | list) and name not in PICTURE_NAMES:
                np.testing.assert_allclose(read[name], value, rtol=1e-7)
        assert read["ssim"] == row["ssim"]
        assert read["victims"] == 3
        assert read["batch_size"] == 2
        original = np.asarray(read["original"], np.float32).reshape(read["image_shape"])
        assert original.shape == (2, 1, 8, 8)
        assert np.array_equal(original.ravel(), row["original"])
        png = np.asarray(Image.open(io.BytesIO(read["original_png"][1])))
        assert np.abs(png / 255 - original[1, 0]).max() <= 0.5 / 255 + 1e-6


def test_a_missing_chance_level_is_absent_not_nan(tmp_path: Path) -> None:
    path = result_rows.write(tmp_path, result_rows.cell(attack="ig"))
    table = read_cell(path)
    assert table["ssim_same_class"].to_pylist() == [None, 0.3]
    assert table["mse_same_class"].to_pylist() == [None, 0.08]
    assert table["mask_accuracy"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": 2.5}, "column iterations"),
        ({"mse": None}, "row 0: mse is absent, and the attack ended with max_iterations"),
        ({"mse": "0.1"}, "column mse"),
        ({"tf32": 1}, "column tf32"),
        ({"host": 3}, "column host .*3 is not str"),
        ({"labels": 3}, "column labels .*3 is not a list"),
        ({"labels": [2**40]}, "column labels .*do not fit int32"),
        ({"labels": [1, 2]}, "2 entries in labels, expected 1"),
        ({"original": [0.5]}, "1 entries in original, expected 64"),
        ({"history_mse": [1.0]}, "1 entries in history_mse, history_iteration has 10"),
        ({"psnr": float("nan")}, "psnr is nan, expected a finite number"),
        ({"seed": 3}, "cell_id default/mnist/mlp/p0.50/dia/seed0 does not match its axes"),
        ({"victim_id": "0000"}, "a victim_id occurs twice"),
        ({"victims": 3}, "2 rows, expected one for each of 3 victims"),
        ({"sssim": 1.0}, "missing columns: none; unknown columns: sssim"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_is_left(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    cell = result_rows.cell()
    with pytest.raises(RecordError, match=message):
        write_cell(tmp_path / "x.parquet", result_rows.rows(cell, **changes), result_rows.job(cell))
    assert list(tmp_path.rglob("*.parquet")) == []


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    rows = result_rows.rows(result_rows.cell())
    del rows[1]["psnr"]
    with pytest.raises(RecordError, match="row 1: missing columns: psnr; unknown columns: none"):
        write_cell(tmp_path / "x.parquet", rows, result_rows.job(result_rows.cell()))


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    cell = result_rows.cell()
    path = result_rows.write(tmp_path, cell)
    whole = path.read_bytes()

    with pytest.raises(RecordError, match=r"absent\.parquet: no such file"):
        read_cell(tmp_path / "absent.parquet")

    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match=r"seed0\.parquet: truncated or damaged"):
        read_cell(path, cell)

    path.write_bytes(b"")
    with pytest.raises(RecordError, match=r"seed0\.parquet: truncated or damaged"):
        read_cell(path, cell)

    start = pq.ParquetFile(io.BytesIO(whole)).metadata.row_group(0).column(3).data_page_offset
    flipped = bytearray(whole)
    flipped[start + 40] ^= 0xFF  # inside a page: only its checksum can tell
    path.write_bytes(flipped)
    with pytest.raises(RecordError, match=r"seed0\.parquet: truncated or damaged"):
        read_cell(path, cell)

    pq.write_table(pa.table({"x": [1, 2]}), path)
    with pytest.raises(RecordError, match="a Parquet file, but not one that dia wrote"):
        read_cell(path, cell)


def test_the_file_of_another_cell_is_refused(tmp_path: Path) -> None:
    path = result_rows.write(tmp_path, result_rows.cell(seed=1))
    expected = "holds the cell default/mnist/mlp/p0.50/dia/seed1, expected default/mnist/mlp/p0.50/dia/seed0"
    with pytest.raises(RecordError, match=expected):
        read_cell(path, result_rows.cell())


def test_a_cell_of_another_version_is_refused_by_its_columns(tmp_path: Path) -> None:
    path = result_rows.write(tmp_path, result_rows.cell())
    table = pq.ParquetFile(path).read()
    renamed = table.rename_columns([n.replace("tv_weight", "tv") for n in table.column_names])
    pq.write_table(renamed.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(RecordError, match=r"missing columns: tv_weight; unknown columns: tv\)"):
        read_cell(path)


def by_an_older_version(path: Path, without: set[str]) -> None:
    """Write a cell again as a version wrote it that did not have these columns and settings yet."""
    table = pq.ParquetFile(path).read()
    head = json.loads(table.schema.metadata[HEAD])
    head["job"]["settings"] = {k: v for k, v in head["job"]["settings"].items() if k not in without}
    table = table.select([name for name in table.column_names if name not in without])
    table = table.replace_schema_metadata({HEAD: json.dumps(head).encode()})
    with path.open("w+b") as file, pq.ParquetWriter(file, table.schema, write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({CONTENT: hash_of_content(file, file.tell()).encode()})


def test_a_cell_that_lacks_what_came_later_is_read(tmp_path: Path) -> None:
    """A week of cells is not lost to a version that says more: settings have their default, the rest is unknown."""
    job = result_rows.job(result_rows.cell())
    path = result_rows.write(tmp_path, job.cell)
    now = read_cell(path, job)
    by_an_older_version(path, {"cosine_epsilon", "cuda_graph", "lpips"})
    then = read_cell(path, job)
    assert then.column_names == now.column_names
    assert set(then["cosine_epsilon"].to_pylist()) == {Settings().cosine_epsilon}
    assert then["cuda_graph"].null_count == then.num_rows
    known = [name for name in now.column_names if name not in ("cuda_graph", "lpips")]
    assert then.select(known).to_pylist() == now.select(known).to_pylist()
    collect([(job, path)], tmp_path / "results.parquet")
    assert read_results(tmp_path / "results.parquet", ["cuda_graph"])["cuda_graph"].to_pylist() == [
        None,
        None,
    ]


def test_a_setting_that_came_later_is_another_job_unless_it_has_its_default(tmp_path: Path) -> None:
    job = result_rows.job(result_rows.cell())
    path = result_rows.write(tmp_path, job.cell)
    by_an_older_version(path, {"cosine_epsilon"})
    relative = job.model_copy(
        update={"settings": job.settings.model_copy(update={"cosine_epsilon": "relative"})}
    )
    with pytest.raises(RecordError, match=r"made with other settings: \{'cosine_epsilon': 'absolute'\}"):
        read_cell(path, relative)


def test_scores_never_come_later(tmp_path: Path) -> None:
    path = result_rows.write(tmp_path, result_rows.cell())
    by_an_older_version(path, {"seconds"})
    with pytest.raises(RecordError, match="missing columns: seconds; unknown columns: none"):
        read_cell(path)


def test_png_refuses_what_is_no_image() -> None:
    colour = np.zeros((3, 2, 5), np.float32)
    colour[0] = 1.0
    picture = Image.open(io.BytesIO(png_bytes(colour)))
    assert (picture.size, picture.mode, picture.getpixel((4, 1))) == ((5, 2), "RGB", (255, 0, 0))
    with pytest.raises(RecordError, match="values in"):
        png_bytes(np.full((1, 2, 2), 1.5))
    with pytest.raises(RecordError, match="values in"):
        png_bytes(np.full((1, 2, 2), np.nan))
    with pytest.raises(RecordError, match="shape"):
        png_bytes(np.zeros((2, 2)))


def test_writing_a_cell_imports_neither_pandas_nor_mlflow(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from helpers import result_rows\n"
        "from dia.results.cell_file import read_cell\n"
        f"read_cell(result_rows.write(pathlib.Path({str(tmp_path)!r}), result_rows.cell()))\n"
        "assert not {'pandas', 'mlflow', 'torch', 'matplotlib'} & set(sys.modules), 'heavy import'\n"
    )
    paths = [str(Path(result_rows.__file__).parents[1]), str(Path(result_rows.__file__).parents[2])]
    code = f"import sys; sys.path[:0] = {paths!r}\n{script}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_content_hash_follows_the_rows(tmp_path: Path) -> None:
    cell = result_rows.cell()
    job = result_rows.job(cell)

    def content(name: str, **changes: float) -> str:
        return check_cell(result_rows.write(tmp_path / name, cell, **changes), job).content

    assert content("a") == content("b") != content("c", seconds=2.5)
    with pytest.raises(RecordError, match=r"expected default/mnist/mlp/p0\.50/dia/seed1"):
        check_cell(tmp_path / "a" / cell.path, result_rows.job(result_rows.cell(seed=1)))


def test_pictures_of_the_first_victims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dia.results.cell_file._ROW_GROUP_BYTES", 1)
    path = result_rows.write(tmp_path, result_rows.cell(), ssim=[0.9, 0.5, 0.25])
    assert pq.ParquetFile(path).num_row_groups == 3
    pictures = read_pictures(path, result_rows.cell(), victims=2)
    assert [p["victim_id"] for p in pictures] == ["0000", "0001"]
    original, reconstruction = pictures[1]["original"], pictures[1]["reconstruction"]
    assert original.shape == reconstruction.shape == (1, 1, 8, 8)
    np.testing.assert_allclose(reconstruction, 0.5 * original, rtol=1e-6)
    assert len(read_pictures(path, victims=9)) == 3
