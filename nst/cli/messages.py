"""Standard output and standard error, which may lose their reader: a closed terminal must not end a run."""

import os
import sys
from typing import Any, TextIO

from nst.errors import one_line


def say(message: str) -> None:
    """Print `nst: <message>` on standard error."""
    print(f"nst: {one_line(message)}", file=ERRORS, flush=True)


def print_result(text: str) -> None:
    """Print the text on standard output, which may be a terminal that was closed.

    Raises BrokenPipeError if it was a pipe whose reader has gone.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        silence(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise


class ErrorStream:
    """Standard error, without errors when nobody can read it any more."""

    def write(self, text: str) -> None:
        """Write the text."""
        try:
            if sys.stderr is not None:  # a program may be started without it
                sys.stderr.write(text)
        except (OSError, ValueError):
            silence(sys.stderr)

    def flush(self) -> None:
        """Flush what was written."""
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except (OSError, ValueError):
            silence(sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


ERRORS = ErrorStream()  # one for all: tqdm clears its bar for text that goes to the same stream


def silence(stream: TextIO) -> None:
    """Let a stream without a reader lead nowhere. Otherwise Python would complain about it when it ends."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # it is closed, or no file
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
