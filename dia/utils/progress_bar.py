"""The progress bar of all commands: on a terminal only, as a log would be flooded by it."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def progress_bar(unit: str, *fields: str) -> "Progress":
    """A bar on standard error, which shows nothing where that is no terminal.

    It has no thread of its own: it is drawn when a task is updated with ``refresh=True``.

    Args:
        unit: What a task counts, such as ``cell``.
        fields: Further columns, as rich's templates of a task.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *map(TextColumn, fields),
        console=Console(stderr=True),
        auto_refresh=False,
        disable=not sys.stderr.isatty(),
    )
