"""Rewrite BMP files with unusual masks, which Pillow does not read, into usual ones."""

import struct

import numpy as np

from nst.io.depth import map_rows

SIGNATURE = b"BM"
BITFIELDS, ALPHA_BITFIELDS = 3, 6  # compressions: masks say which bits of a pixel are red, green, blue and alpha
HEADER = 14  # bytes of the file's header, which the picture's header follows
OWN_MASKS = 52  # bytes of the smallest picture's header that has the masks in it; one with an alpha has 56
EIGHT_BITS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
USUAL = {  # bits and masks that Pillow reads
    (16, (0xF800, 0x7E0, 0x1F, 0)), (16, (0x7C00, 0x3E0, 0x1F, 0)), (24, (0xFF0000, 0xFF00, 0xFF, 0)),
    (32, EIGHT_BITS), (32, (*EIGHT_BITS[:3], 0)), (32, (0, 0, 0, 0)),
}  # fmt: skip


def with_usual_masks(data: bytes, most_pixels: int) -> bytes:
    """Return a BMP file whose pixels have masks of 8 bits each: `data` itself, if they have such already.

    A file that has no masks, is damaged, or has over `most_pixels` is returned as it is, too.
    """
    if len(data) < HEADER + 40:
        return data
    start, size, width, height, _, bits, compression = struct.unpack("<IIiiHHI", data[10 : HEADER + 20])
    if compression not in (BITFIELDS, ALPHA_BITFIELDS) or bits not in (16, 32) or size < 40:
        return data
    has_alpha = size > OWN_MASKS or compression == ALPHA_BITFIELDS
    masks = struct.unpack("<4I", data[HEADER + 40 : HEADER + 56].ljust(16, b"\0"))
    masks = masks if has_alpha else (*masks[:3], 0)
    stride = -(-width * bits // 32) * 4
    is_whole = width > 0 and width * abs(height) <= most_pixels and start + stride * abs(height) <= len(data)
    if not is_whole or (compression == BITFIELDS and (bits, masks) in USUAL):
        return data
    values = np.frombuffer(data, f"<u{bits // 8}", stride * abs(height) // (bits // 8), start)
    values = values.reshape(abs(height), -1)[:, :width]
    pixels = np.empty((*values.shape, 4), np.uint8)
    for place, mask in zip((2, 1, 0, 3), masks, strict=True):  # stored as blue, green, red, alpha
        map_rows(lambda rows, mask=mask: _channel(rows, mask), values, pixels[..., place])
    header = struct.pack(
        "<IiiHHI20x4I", 108, width, height, 1, 32, BITFIELDS, *EIGHT_BITS[:3], EIGHT_BITS[3] if masks[3] else 0
    )
    header = header.ljust(108, b"\0")
    start = HEADER + len(header)
    return SIGNATURE + struct.pack("<I4xI", start + pixels.nbytes, start) + header + pixels.tobytes()


def _channel(rows: np.ndarray, mask: int) -> np.ndarray:
    """Return the bits of a mask in 8 bits; zeros for no mask."""
    if not mask:
        return np.zeros(rows.shape, np.uint8)
    lowest = mask & -mask
    return ((rows & mask) // lowest * (255 / (mask // lowest))).round()
