"""Wait for a condition with a deadline, never for a fixed time."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], seconds: float, message: str) -> float:
    """Wait until `condition()` is true. Return the seconds that it took; raise AssertionError after `seconds`."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s: {message}"
        time.sleep(0.05)
    return time.monotonic() - started
