"""Files that are written whole or not at all."""

import os
import uuid
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
        temporary = str(path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}"))
        open(temporary, "xb").close()
        write(temporary)
        with open(temporary, "rb") as finished:
            os.fsync(finished.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # the latter two: torch's and safetensors' full disk
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise StyleTransferError(f"{path.name}: cannot be written ({reason}).") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
    return path
