"""Uploads, previews and results on disk: one folder for this process, bounded in age and bytes, deleted at its end."""

import contextlib
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from nst.errors import StyleTransferError

KEEP_SECONDS = 3600  # how long a file stays
PREFIX = "nst-web-"
_log = logging.getLogger("app")


class Storage:
    """The folder `root` for this process's temporary files, locked while the process lives.

    A context manager that deletes the folder at the end of the block.
    """

    def __init__(self, root: Path):
        self.root = root
        self._lock = _lock(root)

    def __enter__(self) -> "Storage":
        return self

    def __exit__(self, *_) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)

    def sweep(self, max_bytes: int, lasting: frozenset[str]) -> None:
        """Delete files older than an hour, and the oldest where all of them fill more than `max_bytes`.

        The paths `lasting` stay. A failure is logged, and the next sweep tries again.
        """
        try:
            delete_old_files(self.root, KEEP_SECONDS, max_bytes, lasting)
        except Exception:
            _log.exception("the storage could not be swept")


def open_storage() -> Storage:
    """Make a folder in GRADIO_TEMP_DIR, else in the system's temporary folder, and set GRADIO_TEMP_DIR to it.

    Gradio reads that variable when it is imported, and then keeps its files there too. Folders that killed servers have
    left behind are removed. Raises StyleTransferError if no folder can be made.
    """
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
    os.environ["GRADIO_TEMP_DIR"] = str(root)
    return Storage(root)


def new_result(name: str = "stylized.png") -> Path:
    """Return a path for a result, in a new folder of the storage.

    The folder's name cannot be guessed: everybody who knows it may read the file. Raises StyleTransferError if no
    folder can be made.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="result-", dir=os.environ.get("GRADIO_TEMP_DIR"))) / name
    except OSError as error:
        raise StyleTransferError(f"The server cannot keep the result ({error.strerror}): try again later.") from error


class StoredFile(NamedTuple):
    """A file of the storage: when it was last written (seconds since 1970), its bytes and its path."""

    written: float
    size: int
    path: str


def stored_files(root: Path) -> list[StoredFile]:
    """Return every file under `root`."""
    files = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):  # deleted in the meantime
                status = os.stat(path)
                files.append(StoredFile(status.st_mtime, status.st_size, path))
    return files


def delete_old_files(
    root: Path, keep_seconds: float, max_bytes: int, lasting: frozenset[str] = frozenset()
) -> tuple[int, int]:
    """Delete files under `root` older than `keep_seconds`, then the oldest until the rest fill at most `max_bytes`.

    lasting: paths that stay, however old they are, because the page itself shows them. Empty folders older than a
    minute are deleted too.

    Return how many files stay and their bytes, without the lasting ones.
    """
    files = sorted(file for file in stored_files(root) if file.path not in lasting)
    total_bytes, count = sum(file.size for file in files), len(files)
    now = time.time()
    for file in files:
        # A file from the future, after the clock was set back, would otherwise stay for ever.
        is_recent = now - keep_seconds <= file.written <= now + keep_seconds
        if is_recent and total_bytes <= max_bytes:
            continue
        with contextlib.suppress(OSError):
            os.unlink(file.path)
            total_bytes, count = total_bytes - file.size, count - 1
    for folder, _, _ in os.walk(root, topdown=False):
        with contextlib.suppress(OSError):  # not empty; a new one is about to be filled
            if folder != str(root) and now - os.path.getmtime(folder) > 60:
                os.rmdir(folder)
    return count, total_bytes


def _lock(root: Path) -> int | None:
    """Lock a folder until this process ends, so that other processes see that it is in use.

    Return the lock's file descriptor, or None if another process holds the lock or the system has no file locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows: abandoned folders stay until the system clears its temporary files
        return None
    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders of servers that no longer run: nobody holds their locks."""
    for root in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = _lock(root)
            if lock is not None:
                shutil.rmtree(root, ignore_errors=True)
                os.close(lock)
