"""How the C library keeps freed memory. Other libraries than glibc are left as they are. This module needs no torch."""

import contextlib
import ctypes

MAX_ARENAS = 2  # of a server: each of its forty threads would otherwise keep freed memory of its own
# Parameters of mallopt, from malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
M_ARENA_MAX = -8


def keep_freed_memory() -> None:
    """Keep freed memory for the next allocation until the process ends, instead of giving it back to the system.

    The system would clear large blocks again at every step. That takes a sixth of a training step.
    """
    _set_option(M_MMAP_MAX, 0)  # no separate mappings for large blocks
    _set_option(M_TRIM_THRESHOLD, -1)  # give nothing back


def limit_arenas() -> None:
    """Let all threads share a few pools of memory. Call this before there are threads."""
    _set_option(M_ARENA_MAX, MAX_ARENAS)


def give_back_memory() -> None:
    """Give freed memory back to the system."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _set_option(name: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(name, value)
