"""PNG files and ICC profiles, written from their specifications, and the pixels of pictures as arrays."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

SRGB_TO_XYZ = np.array(  # linear sRGB to XYZ under D50, the white of ICC profiles (Lindbloom, Bradford-adapted)
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
ADOBE_TO_XYZ = np.array(  # the same for Adobe RGB (1998)
    [[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197], [0.0194811, 0.0608902, 0.7448387]]
)
P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)  # white, red, green, blue
BLACK_TO_WHITE = np.array([[0, 64, 128, 200, 255]], np.uint8)
SIX_COLOURS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 200, 90], [128, 128, 128], [250, 240, 5]]], np.uint8
)


def pixels(picture: Image.Image) -> np.ndarray:
    """Return (H, W, 3) integers of a picture that must be RGB."""
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


def laid_on_white(path) -> np.ndarray:
    """Return (H, W, 3) integers of a picture file, its transparent parts laid on white by this function."""
    from nst import load_with_opacity

    picture, opacity = load_with_opacity(path)
    colours = pixels(picture)
    if opacity is None:
        return colours
    alpha = np.asarray(opacity)[..., None] / 255
    return (colours * alpha + 255 * (1 - alpha)).round().astype(int)


def grey(values) -> np.ndarray:
    """Return (H, W, 3) integers with the same (H, W) values in all three channels."""
    return np.repeat(np.asarray(values, dtype=int)[..., None], 3, axis=2)


def save(path, picture: Image.Image, **options):
    """Save a picture and return the path."""
    picture.save(path, **options)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(array: np.ndarray, *chunks: bytes, size: tuple[int, int] | None = None) -> bytes:
    """Return a PNG file of (H, W, channels) uint8 or uint16. `size` is the (width, height) in the header."""
    array = np.asarray(array)
    height, width, channels = array.shape
    width, height = size or (width, height)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8 * array.dtype.itemsize, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(array.dtype.newbyteorder(">")).tobytes() for row in array)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def cicp(primaries: int, transfer: int, matrix: int = 0, full_range: int = 1) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, matrix, full_range]))


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


def chrm(*values: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


def avif(colours: np.ndarray, primaries: int, transfer: int) -> bytes:
    """Return an AVIF file whose property nclx has these code points."""
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "AVIF", quality=100, subsampling="4:4:4")
    place = buffer.getvalue().index(b"nclx") + 4
    return buffer.getvalue()[:place] + struct.pack(">2H", primaries, transfer) + buffer.getvalue()[place + 4 :]


def icc_profile(space: bytes, curves: dict[bytes, float], colourants: dict[bytes, np.ndarray]) -> bytes:
    """Return an ICC version 2 display profile with gamma curves and, for RGB, the XYZ of its primaries under D50."""

    def xyz(values) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    white = (0.9642, 1.0, 0.8249)
    tags = {b"wtpt": xyz(white), b"cprt": b"text\0\0\0\0none\0", b"desc": b"desc\0\0\0\0\0\0\0\2x\0" + bytes(78)}
    tags |= {name: xyz(values) for name, values in colourants.items()}
    tags |= {n: b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) for n, gamma in curves.items()}
    tags = {name: data + bytes(-len(data) % 4) for name, data in tags.items()}
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data
    length = 132 + 12 * len(tags) + len(body)
    header = struct.pack(">I4xI4s4s4s12x4s", length, 0x02400000, b"mntr", space, b"XYZ ", b"acsp")
    header = header.ljust(68, b"\0") + xyz(white)[8:]
    return header.ljust(128, b"\0") + table + body


def rgb_profile(to_xyz: np.ndarray, gamma: float) -> bytes:
    """Return an ICC profile for RGB from the matrix of linear RGB to XYZ and one gamma."""
    names = (b"r", b"g", b"b")
    columns = {name + b"XYZ": to_xyz[:, i] for i, name in enumerate(names)}
    return icc_profile(b"RGB ", {name + b"TRC": gamma for name in names}, columns)


def srgb_encoded(linear: np.ndarray) -> np.ndarray:
    """Return sRGB values in [0, 255] of linear light in [0, 1] (IEC 61966-2-1)."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


ADOBE = rgb_profile(ADOBE_TO_XYZ, 563 / 256)
SWAPPED = rgb_profile(SRGB_TO_XYZ[:, [2, 1, 0]], 2.2)  # its "red" is sRGB's blue
LINEAR_GREY = icc_profile(b"GRAY", {b"kTRC": 1.0}, {})
ICCP = b"x\0\0"  # the start of PNG's chunk iCCP, before the compressed profile: a name, its end, the method
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
