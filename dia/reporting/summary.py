"""The summary of a run: one page with its cells, settings, machines and software versions."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from dia.reporting.expected_cells import expected_cells
from dia.reporting.html_page import page
from dia.reporting.status import cell_status
from dia.reporting.what_was_run import COLUMNS as RUN_COLUMNS
from dia.reporting.what_was_run import VERSIONS, totals, versions
from dia.results.collected import read_results

if TYPE_CHECKING:
    import pandas as pd

    from dia.config.config import Config
    from dia.jobs.cell import Cell

COLUMNS = (*RUN_COLUMNS, "model", "attack", "stop_reason", "notes")

_MOST_MISSING = 200


def summary(config: "Config", results: str | Path) -> str:
    """Write the page as HTML.

    Args:
        config: The config, whose cells make the complete grid.
        results: The collected rows.

    Raises:
        RecordError: The file cannot be read.
    """
    frame = read_results(results, COLUMNS).to_pandas()
    expected = expected_cells(config)
    here = set(frame["cell_id"])
    missing = [cell for cell in config.cells if cell.id not in here]
    done = len(config.cells) - len(missing)
    parts = [
        f"<h1>{escape(config.name)}: {done} of {len(config.cells)} cells</h1>",
        _table(("", ""), totals(frame, done)),
        "<h2>Missing cells</h2>",
        _missing(config, missing) if missing else "<p>None.</p>",
        "<h2>Settings</h2>",
        _settings(expected),
        "<h2>Machines and versions</h2>",
        _table(
            VERSIONS,
            versions(frame),
        ),
        "<h2>How the attacks ended</h2>",
        _table(("model", "attack", "why", "victims"), _stop_reasons(frame)),
    ]
    if announcements := [(n, str(c)) for n, c in frame["notes"].value_counts().items() if n]:
        parts += ["<h2>Announcements of the attacks</h2>", _table(("what", "victims"), announcements)]
    parts += ["<h2>Configuration</h2>", f"<pre>{escape(_yaml(config))}</pre>"]
    return page(f"{config.name}: what was run", "\n".join(parts))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts as HTML."""
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    lines = ["".join(f'<td class="text">{escape(str(cell))}</td>' for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"


def _missing(config: "Config", missing: "Sequence[Cell]") -> str:
    """A table of the missing cells with the reason that the last attempt of each left."""
    rows = []
    for cell in missing[:_MOST_MISSING]:
        reason = cell_status(config, cell).reason
        rows.append((cell.id, reason or "finished since these results were collected"))
    more = len(missing) - len(rows)
    return _table(("cell", "why"), rows) + (f"<p>And {more} more.</p>" if more else "")


def _settings(expected: "pd.DataFrame") -> str:
    """A table of settings: one value where all cells agree, else a value per scenario and model."""
    from dia.settings.scenario import Settings

    rows = []
    for name, default in Settings().model_dump(mode="json").items():
        values = list(dict.fromkeys(expected[name].tolist()))
        if len(values) == 1:
            text = f"{values[0]}"
        else:
            groups = expected.groupby(["scenario", "model"], sort=False)[name].first()
            text = "; ".join(f"{value} ({scenario}, {model})" for (scenario, model), value in groups.items())
        rows.append((name, text, "" if values == [default] else f"{default}"))
    return _table(("setting", "here", "default, where it differs"), rows)


def _stop_reasons(frame: "pd.DataFrame") -> list[tuple[str, ...]]:
    """The number of victims by model, attack and what stopped it."""
    groups = frame.groupby(["model", "attack", "stop_reason"], sort=False).size()
    return [(model, attack, reason, str(victims)) for (model, attack, reason), victims in groups.items()]


def _yaml(config: "Config") -> str:
    """The config as its author wrote it, without defaults."""
    import yaml

    mapping = config.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True, width=100)
