"""A limit of this process's memory (`ulimit -v`): check it before the start.

Where memory ends, libraries in C++ end the whole process, with messages of their own. A trial in another process shows
whether the limit leaves enough for the start; what a run needs is checked later, by `nst.estimation.check_memory`.
"""

import errno
import os
import subprocess
import sys
from collections.abc import Sequence

from nst.errors import StyleTransferError

LIMITS = {"RLIMIT_AS": 0, "RLIMIT_DATA": 5}  # ulimit -v and -d, and what each limits: a field of /proc/self/statm
# A run maps half as much again as it uses (measured: 1.35 to 1.47 times, at 64 to 512 px in both precisions).
MAPPED_PER_USED = 1.5
# The smallest run does all that takes memory once: the libraries, their threads, the weights.
TRIAL = """
import importlib, sys
from PIL import Image
from nst import StyleSettings, stylize
picture = Image.effect_noise((32, 32), 99).convert("RGB")
list(stylize(picture, picture, StyleSettings(size=32, steps=1, scales=1, sketch=False)))
for module in sys.argv[1:]:
    importlib.import_module(module)
print("enough")
"""


def memory_limit() -> int | None:
    """Return the smallest limit in bytes, or None if there is none."""
    return min(_limits().values(), default=None)


def room_below_limits(pages: Sequence[str], page_bytes: int) -> list[int]:
    """Return the bytes that each limit leaves to use. pages: the fields of /proc/self/statm."""
    return [
        max(0, int((limit - int(pages[LIMITS[name]]) * page_bytes) / MAPPED_PER_USED))
        for name, limit in _limits().items()
    ]


def _limits() -> dict[str, int]:
    try:
        import resource
    except ImportError:  # Windows
        return {}
    limits = {name: resource.getrlimit(getattr(resource, name))[0] for name in LIMITS if hasattr(resource, name)}
    return {name: limit for name, limit in limits.items() if limit != resource.RLIM_INFINITY}


def check_start(*modules: str) -> None:
    """Raise StyleTransferError if the limit is too small to start. modules: what will be imported beside the method.

    Without a limit it does nothing. With one it takes as long as the start itself, because it tries that.
    """
    if memory_limit() is None:
        return
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", TRIAL, *modules]
    trial = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "enough" not in trial.stdout:
        raise too_little_memory("to start: raise it (ulimit -v)")


def too_little_memory(advice: str = "for this: raise it (ulimit -v), or choose a smaller size") -> StyleTransferError:
    """Return the error for a process whose memory has ended. advice: about its limit, if it has one."""
    limit = memory_limit()
    if limit is None:
        return StyleTransferError("There is not enough memory: close other programs, or choose a smaller size.")
    return StyleTransferError(f"The memory limit of {limit / 1e9:.1f} GB is too small {advice}.")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory has ended, in the words of Python, the system, torch or oneDNN."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if memory_limit() is not None and isinstance(
        error, (ImportError, SystemError)
    ):  # of Python, where it has no memory
        return True
    return any(words in str(error) for words in ("allocate memory", "could not create a", "can't start new thread"))
