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
