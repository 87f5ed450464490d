"""Text for people."""

from collections.abc import Callable, Sequence


def shorten(
    items: Sequence[str], most: int, separator: str = ", ", describe: Callable[[str], str] = str
) -> str:
    """The first ``most`` items and how many more there are: ``a, b and 3 more``.

    Args:
        items: What to list.
        most: Most items to name.
        separator: Text between two items; ``"; "`` also stands before "and".
        describe: Gives the text of each item that is named.
    """
    text = separator.join(describe(item) for item in items[:most])
    more = len(items) - most
    return f"{text}{separator.rstrip(', ')} and {more} more" if more > 0 else text


def in_words(seconds: float) -> str:
    """A duration with its two largest units: ``2 d 3 h``, ``12 min``, ``8 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
