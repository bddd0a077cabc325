"""Keep the user's files: check what will be written, and leave alone what this program did not write."""

import io
import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from nst.errors import StyleTransferError
from nst.io.addresses import refuse_address

ICONS = ("ICO", "ICNS")  # of a few fixed sizes, to which Pillow would scale the picture


class FileKept(StyleTransferError):
    """A file was left as it is, because this program did not write it."""


def output_path(text: str, example: str) -> Path:
    """Return the path of a file that will be written. example: a name for a file in a folder.

    Raises StyleTransferError for no name, an address, a folder, and a name that would be one's.
    """
    refuse_address(text, "a file is written here; give its path")
    if not text:
        raise StyleTransferError(f"A file to write has an empty name: name it, such as {example}.")
    path = Path(text)
    if path.is_dir() or text.endswith(("/", os.sep)):
        advice = f"name a file in it, such as {path / example}"
        raise StyleTransferError(f"{text}: cannot be written, because this is a folder; {advice}.")
    return path


def check_output(output: Path, is_lossless: bool) -> None:
    """Raise StyleTransferError for a result that could not be saved. is_lossless: its format must be PNG or TIFF."""
    if not output.suffix:
        example = "result.png" if output.name.startswith((".", "-")) else f"{output.name.rstrip('.')}.png"
        raise StyleTransferError(f"{output.name}: the name needs a suffix, which chooses the format: {example}.")
    kind = _writable_format(output.suffix.lower())
    if kind is None:
        advice = "use .png, .tif, .jpg, .webp or .avif"
        raise StyleTransferError(f"{output.name}: not a picture format that can be written; {advice}.")
    if is_lossless and kind not in ("PNG", "TIFF"):
        raise StyleTransferError(f"{output.name}: --bits 16 and --keep-alpha need .png or .tif.")
    check_writable(output)


def _writable_format(suffix: str) -> str | None:
    """Return Pillow's name of the format, or None if no picture in colour can be written in it."""
    Image.init()
    try:  # Pillow lists formats that it cannot write, or not in colour
        kind = Image.EXTENSION[suffix]
        Image.new("RGB", (16, 16)).save(io.BytesIO(), kind)
    except Exception:
        return None
    return None if kind in ICONS else kind


def check_folder(folder: Path) -> None:
    """Raise StyleTransferError if no files can be written in the folder, which need not be there yet."""
    refuse_address(folder, "results are written to a folder; give its path")
    if folder.is_file():
        raise StyleTransferError(f"{folder}: this is a file; name a folder, where the results go.")
    try:
        check_writable(folder / "any.png")
    except StyleTransferError as error:
        raise StyleTransferError(f"{folder}: cannot be written there.") from error


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

    Results are known by their recipe, films and contact sheets by their mark.
    """
    if not overwrite and os.path.lexists(path) and not _is_ours(path):
        raise FileKept(f"{path.name}: kept, because this program did not write it; --overwrite replaces it.")


def _is_ours(path: Path) -> bool:
    from nst.output.contact_sheet import contents_of
    from nst.output.film import SUFFIXES, is_marked  # these take time, and the flags are checked before
    from nst.output.recipe import has_recipe

    return is_marked(path) if path.suffix.lower() in SUFFIXES else has_recipe(path) or contents_of(path) is not None
