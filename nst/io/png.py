"""Keep the parts of a PNG file that make the picture, and read its colours.

Pillow refuses a whole picture for a text or a profile that is large or damaged. Browsers pass over these parts.
"""

import zlib
from collections.abc import Iterator

from nst.errors import StyleTransferError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
BIT_DEPTH, COLOUR_TYPE, GREY = 24, 25, 0  # where the file says them, and the type without colours
END = b"IEND"
ANIMATION = (b"acTL", b"fcTL", b"fdAT")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
BEFORE_PIXELS = (b"tRNS", b"sRGB", b"gAMA", b"cHRM", b"eXIf")
LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"acTL": 8, b"fcTL": 26}  # in bytes
TRANSPARENCY_LENGTHS = {0: (2,), 2: (6,), 3: range(1, 257)}  # by colour type: grey, RGB and palette
MOST_TEXT = 1 << 20  # bytes of text that are kept; a recipe has about a thousand
RGB_FULL_RANGE = b"\0\1"  # the matrix and the range that cICP must have in PNG
MOST_PROFILE = 32 << 20  # bytes of a colour profile; the largest in use have a few million


def clean_png(data: bytes, name: str) -> tuple[bytes, dict]:
    """Return a PNG file with only what makes the picture, and what Pillow misses in it, for a PIL image's info.

    Kept are pixels, palette, transparency and animation, gamma and chromaticities, text, and EXIF data before the
    pixels, where browsers look for an orientation. A part that is not the picture itself and has a wrong checksum is
    left out. The entries are `icc_profile`, the decompressed profile, `cicp`, the code points of primaries and
    transfer, and `transparency`, the transparent grey of 2 or 4 bits as 8 bits. Messages call the picture `name`.

    Raises StyleTransferError if the profile has over 32 MB.
    """
    kept, info, text, seen = [SIGNATURE], {}, 0, set()
    for kind, start, end in _chunks(data):
        body = memoryview(data)[start + 8 : end - 4]
        is_first_before_pixels = not {kind, b"IDAT"} & seen
        if _is_critical(kind):
            is_kept = True
            seen.add(kind)
        elif not _is_sound(kind, data, start, end):
            is_kept = False
        elif kind in TEXTS:
            size = _text_size(kind, bytes(body))
            is_kept = text + size <= MOST_TEXT
            text += size if is_kept else 0
        else:
            is_kept = kind in ANIMATION or (kind in BEFORE_PIXELS and is_first_before_pixels)
            if is_first_before_pixels:
                info.update(_missed_by_pillow(kind, data, start, end, name))
            seen.add(kind)
        if is_kept:
            kept.append(memoryview(data)[start:end])
    return b"".join(kept), info


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's kind, start and end, up to the end of the picture, or to the end of a file that is cut short.

    The last chunk may be incomplete: its end is then that of the file.
    """
    position, kind = len(SIGNATURE), b""
    while kind != END and position + 8 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        end = min(position + 12 + length, len(data))
        yield kind, position, end
        position = end


def _is_critical(kind: bytes) -> bool:
    """Return whether there is no picture without such a chunk: its name begins with a capital letter."""
    return not kind[0] & 32


def _is_sound(kind: bytes, data: bytes, start: int, end: int) -> bool:
    """Return whether a chunk has the right checksum, and the length that its kind has."""
    length = end - start - 12
    if kind == b"tRNS" and length not in TRANSPARENCY_LENGTHS.get(data[COLOUR_TYPE], ()):
        return False
    checksum = int.from_bytes(data[end - 4 : end], "big")
    return length == LENGTHS.get(kind, length) and zlib.crc32(memoryview(data)[start + 4 : end - 4]) == checksum


def _text_size(kind: bytes, body: bytes) -> int:
    """Return the bytes of a text once decompressed, at most one more than `MOST_TEXT`, which stands for damage too."""
    if kind == b"tEXt":
        return len(body)
    try:
        rest = body[body.index(b"\0") + 1 :]  # behind the keyword
        if kind == b"iTXt":
            is_compressed = rest[0]
            rest = rest[1:2] + rest[2:].split(b"\0", 2)[2]  # without the language and the translated keyword
            if not is_compressed:
                return len(body)
        return len(zlib.decompressobj().decompress(rest[1:], MOST_TEXT + 1))
    except (zlib.error, ValueError, IndexError):
        return MOST_TEXT + 1


def _missed_by_pillow(kind: bytes, data: bytes, start: int, end: int, name: str) -> dict:
    """Return what a chunk says that Pillow does not read, or reads wrongly, as entries for a PIL image's info."""
    if kind == b"iCCP":
        profile = _read_profile(data[start + 8 : end - 4], name)
        return {"icc_profile": profile} if profile else {}
    if kind == b"cICP" and data[start + 10 : start + 12] == RGB_FULL_RANGE:
        return {"cicp": tuple(data[start + 8 : start + 10])}
    if kind == b"tRNS" and data[COLOUR_TYPE] == GREY and data[BIT_DEPTH] in (2, 4):
        return {"transparency": data[end - 5] * 255 // (2 ** data[BIT_DEPTH] - 1)}
    return {}


def _read_profile(body: bytes, name: str) -> bytes | None:
    """Return the profile in a chunk iCCP: a name, its end, the method, and the compressed profile. None if damaged."""
    decompressor = zlib.decompressobj()
    try:
        profile = decompressor.decompress(body[body.index(b"\0") + 2 :], MOST_PROFILE)
    except (zlib.error, ValueError):
        return None
    if decompressor.unconsumed_tail:
        raise StyleTransferError(f"{name}: its colour profile has over {MOST_PROFILE >> 20} MB; save it without one.")
    return profile
