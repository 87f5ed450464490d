"""Lists for people."""

from dia.utils.text import shorten


def test_a_long_list_says_how_many_more_there_are() -> None:
    assert shorten([], 2) == ""
    assert shorten(["a", "b"], 2) == "a, b"
    assert shorten(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert shorten(["a, b", "c", "d"], 2, "; ") == "a, b; c; and 1 more"


def test_only_what_is_named_is_described() -> None:
    asked: list[str] = []

    def describe(item: str) -> str:
        asked.append(item)
        return item.upper()

    assert shorten(["a", "b", "c"], 1, describe=describe) == "A and 2 more"
    assert asked == ["a"]
