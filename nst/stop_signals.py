"""Requests to stop: Ctrl-C, SIGTERM (`kill`, `timeout`, the end of a job) and SIGHUP (a closed terminal)."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows: two


class Stopped(KeyboardInterrupt):
    """The program was asked to stop while there was nothing to keep. status: the exit status that says so."""

    def __init__(self, status: int):
        super().__init__()
        self.status = status


class StopRequest:
    """Whether the program was asked to stop.

    The first signal raises `Stopped` where the main thread is. After `hold` it only sets the request, so that what is
    done so far can be kept. Signals after the first one have no effect: `timeout` and some terminals send each twice.

    number: the first signal's number; None without one.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._is_held = False
        self._process = os.getpid()

    def hold(self) -> None:
        """Let signals set the request and nothing else from now on."""
        self._is_held = True

    def is_set(self) -> bool:
        """Return whether a signal has come."""
        return self.number is not None

    @property
    def status(self) -> int:
        """The exit status of a program that a signal ended, as shells report it: 130, 143 or 129; 130 without one."""
        return 128 + (self.number or signal.SIGINT)

    def handle(self, number: int, _: FrameType | None) -> None:
        """Handle a signal: see the class."""
        if os.getpid() != self._process:  # a forked child inherits this handler, but has no work to keep
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        is_first, self.number = self.number is None, self.number or number
        if is_first and not self._is_held:
            raise Stopped(self.status)


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Yield the request that signals set within the block; then restore what they did before.

    An ignored signal stays ignored: `nohup` relies on it. Outside the main thread, where Python allows no handlers,
    signals keep their effect.
    """
    request = StopRequest()
    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.getsignal(number) for number in NUMBERS}
    # None is a handler that was not installed from Python, which could not be restored.
    previous = {number: handler for number, handler in previous.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in previous:
            signal.signal(number, request.handle)
        yield request
    finally:
        request.hold()
        for number, handler in previous.items():
            signal.signal(number, handler)
