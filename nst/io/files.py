"""Write files whole or not at all."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from nst.errors import StyleTransferError


def write_atomically(path: str | os.PathLike, write: Callable[[str], object]) -> Path:
    """Call `write(temporary)` with a path in the same folder, then move the finished file to `path`, and return that.

    A reader sees the old file or the new one, never a part of it; a crash leaves the old one. The temporary name has
    the same suffix, by which libraries such as Pillow choose the format. A missing folder is made.

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
    except (OSError, RuntimeError, SafetensorError) as error:  # the last two: torch and safetensors on a full disk
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise StyleTransferError(f"{path.name}: cannot be written ({reason}).") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
    return path
