"""Write the pages and tables that are made from the code: `make schema`.

docs/config.md, docs/tables.md, docs/columns.md    whole pages
config/README.md                                   the tables below `<!-- NAME: made by ... -->`
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dia.config.config import Config
from dia.config.reference import config_doc, key_table, one_line
from dia.datasets.registry import SOURCES
from dia.datasets.specs import DatasetBase
from dia.reporting.figures.registry import FIGURES
from dia.reporting.tables.spec import DERIVED, MEASURES, TABLE_AXES, TableSpec
from dia.results.columns import COLUMNS, Column, settings_columns
from dia.settings.scenario import Settings
from dia.utils.lazy_import import load_object

ROOT = Path(__file__).resolve().parents[2]

TABLES = """# Keys of a table

Made from `dia/reporting/tables/spec.py` by `make schema`: do not edit.

A table is one YAML file: `config/tables/NAME.yaml` of the repository, or of the folder in which you run `snakemake`,
which comes first. List its name under `tables` of a config. [extending.md](extending.md#a-table) shows a complete one.
An unknown key is refused with the nearest known one.
"""

COLUMNS_HEAD = """# Columns of the results

Made from `dia/results/columns.py` by `make schema`: do not edit.

`results/NAME/results.parquet` has one row per victim of every cell; `results/NAME/cells/` holds one file per cell with
the same columns and, besides, those of the group *pictures*. `dia.read_results` reads the collected file and checks it
against this list. It has one column more, `job_sha256`: the hash of the job that the row was made for, by which tables,
figures and the summary refuse rows of another config.

```python
>>> import pandas as pd
>>> rows = pd.read_parquet("results/quickstart/results.parquet")                       # doctest: +SKIP
>>> rows.pivot_table("ssim", index=["model", "dropout_rate"], columns="attack")        # doctest: +SKIP
>>> by_cell = rows.groupby(["dataset", "model", "dropout_rate", "attack", "seed"])     # doctest: +SKIP
>>> by_cell["ssim"].agg(["mean", "median", "count"])                                   # doctest: +SKIP
>>> rows.query("attack == 'dia' and success == 1")[["victim_id", "labels", "ssim"]]    # doctest: +SKIP

```

The same with a table that needs no run first:

```python
>>> rows = pd.DataFrame({
...     "dropout_rate": ["0", "0", "0.5", "0.5"],
...     "attack": ["ig", "dia", "ig", "dia"],
...     "ssim": [0.998, 0.998, 0.307, 0.977],
... })
>>> print(rows.pivot_table("ssim", index="dropout_rate", columns="attack"))
attack          dia     ig
dropout_rate              
0             0.998  0.998
0.5           0.977  0.307

```

`dropout_rate` is text, spelled as in the config; use `.astype(float)` to plot it. A column marked *may be absent* is
null where it has no value, and `mean` skips those rows: report n beside it.
"""


def pages() -> dict[Path, str]:
    """Every generated page: path -> content."""
    return {
        ROOT / "docs" / "config.md": config_doc(Config.model_json_schema()),
        ROOT / "docs" / "tables.md": _tables(),
        ROOT / "docs" / "columns.md": _columns(),
        ROOT / "config" / "README.md": fill((ROOT / "config" / "README.md").read_text()),
    }


def fill(text: str) -> str:
    """Replace the content of every marked block; a mark that nothing fills is an error (KeyError)."""
    blocks = {"sources": _sources, "settings": _settings, "tables": _declared, "figures": _figures}

    def content(match: re.Match[str]) -> str:
        return f"{match[1]}\n{blocks[match[2]]()}\n<!-- end -->"

    return re.sub(r"(<!-- (\w+): made by `make schema` -->)\n.*?<!-- end -->", content, text, flags=re.DOTALL)


def _markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(row)} |" for row in (headings, *lines)]
    return "\n".join([rows[0], "|---" * len(headings) + "|", *rows[1:]])


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _first_paragraph(described: object) -> str:
    return one_line((described.__doc__ or "").split("\n\n")[0])


def _sources() -> str:
    lines = []
    for name, entry in SOURCES.items():
        keys = load_object(entry.keys)
        own = [key for key in keys.model_fields if key not in DatasetBase.model_fields]
        lines.append((f"`{name}`", _first_paragraph(keys), _code(own)))
    return _markdown(("`source`", "what", "its own keys"), lines)


def _settings() -> str:
    groups = [Settings, *(base for base in Settings.__bases__)]
    lines = [
        (_first_paragraph(g), _code(k for k in g.__annotations__ if k in Settings.model_fields))
        for g in groups
    ]
    lines[0] = ("Size of a cell, precision, scores.", lines[0][1])
    return _markdown(("topic", "keys"), lines)


def _declared() -> str:
    paths = sorted((ROOT / "config" / "tables").glob("*.yaml"))
    specs = {path.stem: TableSpec.from_file(path) for path in paths}
    lines = [
        (
            f"`{name}`",
            spec.title,
            ", ".join(spec.rows + spec.columns),
            one_line(", ".join(m.label for m in spec.metrics)),
        )
        for name, spec in specs.items()
    ]
    return _markdown(("table", "title", "axes", "numbers"), lines)


def _figures() -> str:
    return _markdown(("figure", "what"), [(f"`{name}`", kind.description) for name, kind in FIGURES.items()])


def _tables() -> str:
    schema = TableSpec.model_json_schema()
    parts = [TABLES, f"## Table\n\n{key_table(schema)}"]
    for name, block in schema["$defs"].items():
        parts.append(f"## {name}\n\n{block.get('description', '')}\n\n{key_table(block)}")
    parts.append(f"## Axes\n\n`rows`, `columns` and `where` take: {_code(TABLE_AXES)}.\n")
    derived = "; ".join(
        f"`{name}` is `{above}` divided by `{below}`" for name, (above, below) in DERIVED.items()
    )
    parts.append(f"## Measures\n\nA metric's `column` is one of: {_code(MEASURES)}. {derived}.\n")
    return "\n".join(parts)


def _columns() -> str:
    groups: dict[str, list[Column]] = {}
    for column in (*COLUMNS, *settings_columns()):
        groups.setdefault(column.group, []).append(column)
    parts = [COLUMNS_HEAD]
    for group, columns in groups.items():
        lines = [
            (f"`{c.name}`", c.type + (", may be absent" if c.nullable else ""), one_line(c.meaning))
            for c in columns
        ]
        parts.append(f"## {group.capitalize()}\n\n{_markdown(('column', 'type', 'meaning'), lines)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
