"""Tell the pictures in a folder from its other files."""

from pathlib import Path

from PIL import Image

from nst.errors import StyleTransferError
from nst.io.reading import HEIC_BRANDS, REFUSED_FORMATS

# Pillow has readers for these, but they are videos, measurements, descriptions of pictures, and programs that draw.
OTHER_FORMATS = {"MPEG", "BUFR", "GRIB", "HDF5", "IPTC", "WMF", *REFUSED_FORMATS}
# What pictures with a wrong name, or none, mostly are. The others have signatures that a text may begin with, too.
KNOWN_BY_CONTENT = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "JPEG2000")
SIGNATURE = 16  # bytes


def find_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the pictures in `folder` and its other files, each in order of names, without folders and hidden files.

    A file is a picture if its name says so: one that cannot be read is a mistake that the user wants to know about. A
    file with another name is a picture if its first bytes say so.

    Raises StyleTransferError if the folder cannot be read.
    """
    Image.init()
    # HEIC is listed, although Pillow cannot open it: an error with the file's name is better than silence.
    suffixes = {suffix for suffix, kind in Image.EXTENSION.items() if kind in Image.OPEN.keys() - OTHER_FORMATS}
    suffixes |= {".heic", ".heif"}
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise StyleTransferError(f"{folder}: cannot be read ({error.strerror}).") from error
    pictures = [path for path in files if path.suffix.lower() in suffixes or _begins_as_picture(path)]
    return pictures, sorted(set(files) - set(pictures))


def _begins_as_picture(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            signature = file.read(SIGNATURE)
    except OSError:
        return False
    if signature[4:8] == b"ftyp" and signature[8:12] in HEIC_BRANDS:
        return True
    # A TIFF with another suffix is a camera's raw file, of which Pillow would read a tiny preview.
    kinds = KNOWN_BY_CONTENT if path.suffix else (*KNOWN_BY_CONTENT, "TIFF")
    return any(Image.OPEN[kind][1](signature) for kind in kinds if kind in Image.OPEN)
