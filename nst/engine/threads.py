"""The number of threads that torch computes with on a processor."""

import contextlib
import ctypes
import functools
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from nst.engine.limits import usable_cores

HARD_PAUSE = 2  # omp_pause_hard of OpenMP 5.0: the runtime ends its threads, and starts new ones when it is needed

_lock = threading.Lock()
_users = 0  # how many calls compute now
_threads_before = 0  # torch's number of threads before the first of them
_may_share_threads = False  # whether a forked child would wait for threads that only its parent has


@contextlib.contextmanager
def limited_threads() -> Iterator[int]:
    """Let torch use no more threads than cores meanwhile, unless OMP_NUM_THREADS is set; yield their number.

    More threads than cores wait for each other. The number holds for the whole process: it is put back when the last
    of several calls at the same time ends.
    """
    global _users, _threads_before
    with _lock:
        if _users == 0:
            _threads_before = torch.get_num_threads()
            if "OMP_NUM_THREADS" not in os.environ and _threads_before > usable_cores():
                torch.set_num_threads(usable_cores())
        _users += 1
    try:
        yield torch.get_num_threads()
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and torch.get_num_threads() != _threads_before:
                torch.set_num_threads(_threads_before)


def limit_threads_of(generator: Callable[..., Iterator]) -> Callable[..., Iterator]:
    """Decorate a generator function: its own code runs within `limited_threads`, its caller's code does not."""

    @functools.wraps(generator)
    def limited(*arguments: Any, **options: Any) -> Iterator:
        with contextlib.closing(generator(*arguments, **options)) as items:
            while True:
                with limited_threads():
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                yield item

    return limited


def _end_openmp_threads() -> None:
    """End OpenMP's waiting threads before a fork, so that the child starts its own; the parent starts new ones, too.

    Otherwise the child would wait for ever for threads that exist only in its parent.
    """
    global _may_share_threads
    _may_share_threads = True
    with contextlib.suppress(OSError, AttributeError):  # not on Linux, or an old runtime
        mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
        runtimes = [path for path in mapped if re.fullmatch(r"lib[gi]?omp\d?\b.*\.so.*", Path(path).name)]
        _may_share_threads = any([ctypes.CDLL(path).omp_pause_resource_all(HARD_PAUSE) for path in runtimes])


def _begin_child() -> None:
    global _lock, _users
    _lock, _users = threading.Lock(), 0  # another thread of the parent may have held the lock
    if _may_share_threads:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_end_openmp_threads, after_in_child=_begin_child)
