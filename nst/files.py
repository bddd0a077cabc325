"""Files that are written whole or not at all."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from nst.errors import StyleTransferError


def write_atomically(path: str | os.PathLike, write: Callable[[str], None]) -> Path:
    """Call `write(temporary)` beside `path`, then move the finished file into place.

    A reader sees the old file or the new one, never a part; a crash leaves the old one. The temporary name keeps the
    suffix, which libraries such as Pillow take the format from. A missing folder is made.

    Raises StyleTransferError if the folder cannot be made, is read-only or full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        write(temporary)
        with open(temporary, "rb") as finished:
            os.fsync(finished.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private, unlike every other way of saving a file
        os.replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # the latter two: torch's and safetensors' full disk
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise StyleTransferError(f"{path.name}: cannot be written ({reason}).") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def remove_older_than(folder: str | os.PathLike, seconds: float) -> int:
    """Delete files under `folder` last written more than `seconds` ago, and folders left empty; how many files."""
    removed = 0
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = os.path.join(root, name)
            with contextlib.suppress(OSError):  # somebody else may have been quicker
                if time.time() - os.path.getmtime(path) > seconds:
                    os.unlink(path)
                    removed += 1
        with contextlib.suppress(OSError):  # not empty, or just made
            if root != str(folder) and time.time() - os.path.getmtime(root) > seconds:
                os.rmdir(root)
    return removed
