"""Load JPEG pictures that lack the marker at their end."""

import io
import re
from collections.abc import Iterator

import numpy as np
from PIL import Image

from nst.io.depth import ROWS_AT_ONCE

END = b"\xff\xd9"  # a marker
MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd9\xff]")  # one that begins a segment
SCAN_MARKER, SCAN = b"\xff\xda", 0xDA
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # second bytes of the markers that list the components
# Two continuations of a file, as data that stand for no pixels. Where the file's own data suffices, neither is used.
CONTINUATIONS = (b"", bytes.fromhex("5a3c91e4078bd26f") * 64)
MOST_MISSING = 1e-3  # of the pixels may differ: a corner of 16 px in a picture of 0.3 megapixels


def load_jpeg(image: Image.Image) -> Image.Image:
    """Return a JPEG image loaded, even if the marker at its end is missing; browsers show such pictures.

    libjpeg fills up what is missing, and does not tell. But what it fills in depends on the data behind the last pixel:
    a picture is complete if two continuations of the file give the same one.

    Raises OSError, as Pillow does, if part of the picture is missing.
    """
    if not getattr(image, "fp", None):  # loaded already
        return image
    image.fp.seek(0)
    data = image.fp.read()
    if END in data[data.rfind(SCAN_MARKER) :]:
        image.load()
        return image
    data = _without_padding(data)
    pictures = [Image.open(io.BytesIO(data + more + END), formats=["JPEG"]) for more in CONTINUATIONS]
    if not _has_all_scans(data) or _differing_pixels(*pictures) > MOST_MISSING * image.width * image.height:
        raise OSError("part of the picture is missing")
    return pictures[0]


def _without_padding(data: bytes) -> bytes:
    """Return the data without zeros and half a marker at the end; a zero after 255 is part of the data."""
    kept = data.rstrip(b"\0")
    if kept.endswith(b"\xff") and len(kept) < len(data):
        return kept + b"\0"
    return kept.rstrip(b"\xff")


def _differing_pixels(one: Image.Image, other: Image.Image) -> int:
    count = 0
    for top in range(0, one.height, ROWS_AT_ONCE):
        box = (0, top, one.width, min(top + ROWS_AT_ONCE, one.height))
        rows = [np.asarray(picture.crop(box)).reshape(box[3] - top, one.width, -1) for picture in (one, other)]
        count += int((rows[0] != rows[1]).any(2).sum())
    return count


def _has_all_scans(data: bytes) -> bool:
    """Return whether the scans that have begun hold all bits of all coefficients; a progressive file has about ten."""
    missing: set[tuple[int, int]] = set()
    for marker, content in _segments(data):
        if marker in FRAMES:
            missing |= {(component, place) for component in content[6::3] for place in range(64)}
        elif marker == SCAN:
            first, last, precision = content[-3:]
            if precision & 15 == 0:  # the lowest bit
                missing -= {(component, place) for component in content[1:-3:2] for place in range(first, last + 1)}
    return not missing


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each marker and what its segment holds, without the data of scans."""
    position = 2
    while found := MARKER.search(data, position):
        start = found.end()
        length = int.from_bytes(data[start : start + 2], "big")
        if length < 2 or start + length > len(data):
            return
        yield found[0][-1], data[start + 2 : start + length]
        position = start + length
