"""Read the colours of an AVIF file, of which Pillow tells only an ICC profile."""

import struct
from collections.abc import Iterator

PATH = (b"meta", b"iprp", b"ipco")  # the boxes within which the properties of pictures lie
FULL_BOX = 4  # bytes of version and flags, which the box `meta` has before its content
CODE_POINTS = b"nclx"
VIDEO_CURVES, SRGB_CURVE = (1, 6, 14, 15), 13  # code points of transfers; programs write the first for any photo


def read_code_points(data: bytes) -> tuple[int, int] | None:
    """Return the code points (ITU-T H.273) of primaries and transfer that the file states, or None.

    The curves of video count as that of sRGB, as in Chromium.
    """
    start, end = 0, len(data)
    for name in PATH:
        found = next(((first, last) for kind, first, last in _boxes(data, start, end) if kind == name), None)
        if found is None:
            return None
        start, end = found[0] + (FULL_BOX if name == b"meta" else 0), found[1]
    for kind, first, last in _boxes(data, start, end):
        if kind == b"colr" and data[first : first + 4] == CODE_POINTS and last - first >= 10:
            primaries, transfer = struct.unpack(">2H", data[first + 4 : first + 8])
            return primaries, SRGB_CURVE if transfer in VIDEO_CURVES else transfer
    return None


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield each box's name, and the start and end of its content (ISO/IEC 14496-12, 4.2)."""
    while start + 8 <= end:
        size, name, header = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        size = size or end - start
        if size < header or start + size > end:
            return
        yield name, start + header, start + size
        start += size
