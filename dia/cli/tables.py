"""``dia tables``: one declared table from the collected rows."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dia.reporting.tables.spec import TableSpec


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "tables",
        help="make a table from the collected rows",
        description="Make one table, declared in a YAML file, in the formats that the suffixes name.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        metavar="FILE",
        help="the config (YAML or JSON): what is expected",
    )
    parser.add_argument("--results", type=Path, required=True, metavar="FILE", help="from `dia collect`")
    parser.add_argument("--table", type=Path, required=True, metavar="FILE", help="the table's YAML file")
    parser.add_argument(
        "--out", type=Path, required=True, nargs="+", metavar="FILE", help="where to: .csv, .md, .tex, .html"
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        metavar="COLUMN",
        help="only these of the table's numbers, in this order, without comparison; for a paper",
    )
    parser.add_argument(
        "--tabular",
        action="store_true",
        help="write .tex as a bare tabular, and title, caption and notes beside it as .caption.tex",
    )
    parser.add_argument("--print", action="store_true", dest="show", help="also print it as Markdown")


def run(args: argparse.Namespace) -> int:
    """Make the table."""
    from dia.config.config import Config
    from dia.errors import ConfigError
    from dia.jobs.cell import Cell
    from dia.reporting.collected_jobs import check_collected
    from dia.reporting.expected_cells import expected_cells
    from dia.reporting.status import cell_status
    from dia.reporting.tables.build import build
    from dia.reporting.tables.latex import latex_caption, latex_tabular
    from dia.reporting.tables.reference import read_published
    from dia.reporting.tables.render import FORMATS, render
    from dia.reporting.tables.spec import TableSpec
    from dia.utils.files import atomic_path
    from dia.utils.paths import expanded

    for path in args.out:
        if path.suffix[1:] not in FORMATS:
            raise ConfigError(f"--out {path}: the suffix must be one of .{', .'.join(FORMATS)}")
    spec = TableSpec.from_file(args.table)
    if args.columns:
        spec = _chosen(spec, args.columns, args.table)
    config = Config.from_file(args.config)
    check_collected(config, args.results)

    def reason(cell_id: str) -> str:
        return cell_status(config, Cell.parse(cell_id)).reason

    published = (
        read_published(args.table.parent / expanded(spec.reference_values), spec)
        if spec.reference_values
        else []
    )
    table = build(args.table.stem, spec, expected_cells(config), args.results, reason, published)
    texts = {path: render(table, path.suffix[1:]) for path in args.out}
    if args.tabular:
        for path in [path for path in args.out if path.suffix == ".tex"]:
            texts |= {path: latex_tabular(table), path.with_suffix(".caption.tex"): latex_caption(table)}
    for path, text in texts.items():
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if args.show:
        print(render(table, "md"), end="")
    return 0


def _chosen(spec: "TableSpec", names: list[str], origin: Path) -> "TableSpec":
    """The table with these of its metrics, and nothing compared.

    Raises:
        ConfigError: It has no metric of such a column.
    """
    from dia.errors import ConfigError
    from dia.utils.validation_errors import unknown_name_message

    metrics = {metric.column: metric for metric in spec.metrics}
    for name in names:
        if name not in metrics:
            raise ConfigError(f"--columns: {origin}: {unknown_name_message('column', name, metrics)}")
    return spec.model_copy(update={"metrics": tuple(metrics[name] for name in names), "compare": None})
