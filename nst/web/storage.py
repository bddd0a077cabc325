"""Uploads, previews and results: one folder of this process's own, bounded in age and bytes, and gone at its end."""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from nst import StyleTransferError

KEEP_SECONDS = 3600  # how long a file stays
PREFIX = "nst-studio-"
_open: dict[str, Path | int] = {}  # "root", and "lock" where the system has file locks


def open_storage() -> Path:
    """Make the folder and have Gradio use it; remove what servers that were killed have left behind.

    It lies in GRADIO_TEMP_DIR, or in the system's temporary folder. Raises StyleTransferError if it cannot be made.
    """
    if "root" not in _open:
        parent = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(parent)
            root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).resolve()
        except OSError as error:
            raise StyleTransferError(
                f"No temporary files can be written in {parent} ({error.strerror}): make room, or name another folder "
                "in GRADIO_TEMP_DIR."
            ) from error
        _open["root"] = root
        if (lock := _lock(root)) is not None:
            _open["lock"] = lock
        os.environ["GRADIO_TEMP_DIR"] = str(root)
    return _open["root"]


def new_result(name: str = "stylized.png") -> Path:
    """A path for a result, in a folder of its own whose name cannot be guessed: whoever knows it may read the file."""
    try:
        return Path(tempfile.mkdtemp(prefix="result-", dir=open_storage())) / name
    except OSError as error:
        raise StyleTransferError(f"The server cannot keep the result ({error.strerror}): try again later.") from error


def close_storage() -> None:
    """Remove the folder and all that is in it."""
    if root := _open.pop("root", None):
        shutil.rmtree(root, ignore_errors=True)
    if (lock := _open.pop("lock", None)) is not None:
        os.close(lock)


def stored_files(root: Path) -> list[tuple[float, int, str]]:
    """(when last written, bytes, path) of every file under `root`."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):  # somebody else may have been quicker
                status = os.stat(path)
                found.append((status.st_mtime, status.st_size, path))
    return found


def bound(root: Path, keep_seconds: float, max_bytes: int, lasting: frozenset[str] = frozenset()) -> tuple[int, int]:
    """Delete files under `root` older than `keep_seconds`, and then the oldest until the rest fill `max_bytes` at most.

    lasting: paths that stay, whatever their age: what the page itself shows. Folders left empty go too.

    Returns how many files stay and their bytes, without the lasting ones.
    """
    files = sorted(one for one in stored_files(root) if one[2] not in lasting)
    total, stay = sum(size for _, size, _ in files), len(files)
    now = time.time()
    for written, size, path in files:
        # A file from the future, after the clock was set back, would otherwise stay for ever.
        if total <= max_bytes and now - keep_seconds <= written <= now + keep_seconds:
            continue
        with contextlib.suppress(OSError):
            os.unlink(path)
            total, stay = total - size, stay - 1
    for folder, _, _ in os.walk(root, topdown=False):
        with contextlib.suppress(OSError):  # not empty, or just made and about to be filled
            if folder != str(root) and now - os.path.getmtime(folder) > 60:
                os.rmdir(folder)
    return stay, total


def _lock(root: Path) -> int | None:
    """Held by the process for as long as it lives, so that others see that the folder is in use."""
    try:
        import fcntl
    except ImportError:  # Windows: abandoned folders stay, until the system clears its temporary files
        return None
    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_abandoned(parent: Path) -> None:
    for root in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if (lock := _lock(root)) is not None:
                shutil.rmtree(root, ignore_errors=True)
                os.close(lock)
