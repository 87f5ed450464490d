"""Waiting for what other processes do."""

import time
from collections.abc import Callable


def wait_for(what: Callable[[], bool], words: str, seconds: float = 400) -> None:
    """Wait until something is true; says what it waited for when it never is."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"waited {seconds} s for {words}"
        time.sleep(0.2)
