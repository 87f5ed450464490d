"""A running grid on the screen: a live view on a terminal, one line per look in a log."""

import textwrap
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from dia.config.config import Config
from dia.execution.attempts import SILENT_SECONDS
from dia.reporting.grid_watch import GridWatch, Look
from dia.reporting.status import CellStatus
from dia.utils.text import in_words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_LINES_OF_HEAD = 6
_LINES_PER_FAULT = 3
_LONGEST_REASON = 150


def watch(
    config: Config,
    interval: float,
    jobs: int,
    console: "Console",
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Look at a grid until it is done.

    Args:
        config: The config.
        interval: Seconds between two looks.
        jobs: Cells that run at a time, at least.
        console: Where to show it.
        now: The clock, seconds since the epoch.
        sleep: Waits so many seconds.

    Returns:
        The exit status: 0 once all cells are done; 1 where, for ten minutes, all others have failed and none has been
        tried again.
    """
    from rich.live import Live

    grid = GridWatch(config)
    live = Live(console=console, auto_refresh=False) if _can_redraw(console) else None
    states, since = list[str](), now()
    try:
        if live:
            live.start()
        while True:
            look = grid.look(now())
            if live:
                live.update(view(config, look, jobs, console.height), refresh=True)
            else:
                print(line(config, look, jobs), file=console.file, flush=True)
            if len(look.of("done")) == len(look.cells):
                return 0
            if states != (states := [status.state for status in look.cells]):
                since = look.time
            if look.over() and look.time - since >= SILENT_SECONDS:
                break
            sleep(interval)
    finally:
        if live:
            live.stop()
    for status in look.faulty():
        print(f"{status.state:12}{status.cell.id}: {status.reason}", file=console.file)
    return 1


def _can_redraw(console: "Console") -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def line(config: Config, look: Look, jobs: int) -> str:
    """The grid in one line of a log, with the local time before it."""
    at = datetime.fromtimestamp(look.time).strftime("%Y-%m-%d %H:%M:%S")
    done = f"{len(look.of('done'))}/{len(look.cells)} done"
    return f"{at} {config.name}: {'; '.join([', '.join([done, *_counts(look)]), *_pace(look, jobs)])}"


def view(config: Config, look: Look, jobs: int, height: int) -> "RenderableType":
    """The grid on a screen of so many lines; it folds to any width and leaves nothing of a name out."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    done = len(look.of("done"))
    bar = Table.grid(expand=True)  # which ends its line; a bar alone does not
    bar.add_row(ProgressBar(total=len(look.cells), completed=done))
    parts: list[RenderableType] = [
        Text(f"{config.name}: {done} of {len(look.cells)} cells done"),
        bar,
        *(Text(", ".join(words)) for words in (_counts(look), _pace(look, jobs)) if words),
    ]
    room = max(_LINES_OF_HEAD, height - _LINES_OF_HEAD)
    running, faulty = look.of("running"), look.faulty()
    shown = faulty[: max(1, room // (2 * _LINES_PER_FAULT))]
    if running:
        most = max(1, room - _LINES_PER_FAULT * len(shown))
        parts.append(_running(config, running[:most]))
        parts += _more(len(running) - most, "running")
    for status in shown:
        reason = textwrap.shorten(status.reason, _LONGEST_REASON, placeholder=" ...")
        parts.append(Text.assemble((f"{status.state} {status.cell.id}", "red"), f"\n  {reason}"))
    parts += _more(len(faulty) - len(shown), "with a fault: `dia status --failed`")
    return Group(*parts)


def _more(count: int, what: str) -> "list[RenderableType]":
    from rich.text import Text

    return [Text(f"and {count} more {what}", style="dim")] if count > 0 else []


def _running(config: Config, cells: list[CellStatus]) -> "RenderableType":
    """A line per cell: iteration, loss, victims left."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, expand=True, pad_edge=False)
    table.add_column("running", overflow="fold", ratio=1)
    for heading in ("iteration", "loss", "left"):
        table.add_column(heading, justify="right", no_wrap=True)
    for status in cells:
        attempt = status.attempt
        assert attempt is not None
        most = config.settings(status.cell).max_iterations
        loss = "" if attempt.loss is None else f"{attempt.loss:.3g}"
        iteration = f"{attempt.iteration}/{most}" if attempt.iteration else ""
        left = str(attempt.victims_left) if attempt.iteration else ""
        table.add_row(Text(status.cell.id), iteration, loss, left)
    return table


def _counts(look: Look) -> list[str]:
    """The numbers of cells that are not done; those that are not started wait, as those that were stopped do."""
    counts = {"running": len(look.of("running")), "failed": len(look.of("failed"))}
    counts["waiting"] = len(look.of("interrupted", "missing"))
    return [f"{count} {state}" for state, count in counts.items() if count]


def _pace(look: Look, jobs: int) -> list[str]:
    """Rate and end."""
    parts = []
    if rate := look.cells_per_hour():
        per_hour = f"{rate[0]:.3g}" if rate[0] < 100 else f"{rate[0]:,.0f}"
        parts.append(f"{per_hour} cells/h in the last {rate[1]}")
    if not look.over():
        seconds, unknown = look.seconds_to_end(jobs)
        if seconds is None:
            parts.append("end not known yet")
        else:
            at = datetime.fromtimestamp(look.time + seconds).strftime("%a %d %b %H:%M")
            parts.append(f"end {'after' if unknown else 'about'} {at} (in {in_words(seconds)})")
    return parts
