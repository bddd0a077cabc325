"""Keep the user's files: check what will be written, and leave alone what this program did not write."""

import io
import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from nst.errors import StyleTransferError


class FileKept(StyleTransferError):
    """A file was left as it is, because this program did not write it."""


def check_output(output: Path, is_lossless: bool) -> None:
    """Raise StyleTransferError for a result that could not be saved. is_lossless: its format must be PNG or TIFF."""
    Image.init()
    try:  # Pillow lists formats that it cannot write, or not in colour
        kind = Image.EXTENSION[output.suffix.lower()]
        Image.new("RGB", (16, 16)).save(io.BytesIO(), kind)
    except Exception as error:
        raise StyleTransferError(f"{output.name}: not a picture format that can be written; use .png.") from error
    if is_lossless and kind not in ("PNG", "TIFF"):
        raise StyleTransferError(f"{output.name}: --bits 16 and --keep-alpha need .png or .tif.")
    check_writable(output)


def check_writable(path: Path) -> None:
    """Raise StyleTransferError if no file can be written at `path`."""
    folder = next(parent for parent in path.absolute().parents if os.path.exists(parent))
    if "\0" in path.name or path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StyleTransferError(f"{path}: cannot be written there.")


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[str | os.PathLike]) -> None:
    """Raise StyleTransferError if an output is also an input, under whatever name: links and hard links count too."""
    known = {identity for path in inputs if (identity := _identity(path))}
    for output in outputs:
        if _identity(output) in known:
            raise StyleTransferError(f"{output}: this is one of the inputs; write to another file.")


def _identity(path: str | os.PathLike) -> tuple[int, int] | None:
    """Return what all names of a file have in common, or None if there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def check_replaceable(path: Path, overwrite: bool = False) -> None:
    """Raise FileKept if there is a file that this program did not write. overwrite: it may be replaced.

    Results are known by their recipe, and films by their mark.
    """
    if not overwrite and os.path.lexists(path) and not _is_ours(path):
        raise FileKept(f"{path.name}: kept, because this program did not write it; --overwrite replaces it.")


def _is_ours(path: Path) -> bool:
    from nst.output.film import SUFFIXES, is_marked  # these take time, and the flags are checked before
    from nst.output.recipe import has_recipe

    return is_marked(path) if path.suffix.lower() in SUFFIXES else has_recipe(path)
