"""Pictures of unusual sizes, and small files that need much memory."""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from helpers.picture_files import chunk
from tools.corpus.case import EITHER, PICTURE, REFUSED, Case, Entry
from tools.corpus.formats import picture, saved
from tools.corpus.metadata import exif, profile


def size_files() -> Iterator[Entry]:
    """Yield pictures that are small, narrow or large."""
    for width, height in ((1, 1), (1, 40), (40, 1), (2, 2), (15, 15), (16, 16), (17, 300), (1, 20_000), (20_000, 1),
                          (6000, 20), (65_000, 3)):  # fmt: skip
        yield f"{width}x{height}.png", saved(picture(width, height), "PNG"), PICTURE
    yield "1x1.gif", saved(picture(1, 1), "GIF"), PICTURE
    yield "1x1.jpg", saved(picture(1, 1), "JPEG"), PICTURE
    yield "large-4000x3000.jpg", saved(picture(4000, 3000), "JPEG"), PICTURE


def bomb_files() -> Iterator[Entry]:
    """Yield small files that need much memory, or lie about how much they need."""
    for side in (10_001, 20_000, 65_535, 2**31 - 1):
        yield f"bomb-{side}.png", png(side, side), REFUSED
    yield "bomb-bilevel.png", png(30_000, 30_000, bits=1, colours=0, rows=zeros(3751 * 30_000)), REFUSED
    yield "cut-short-large.png", png(9_000, 9_000), REFUSED
    yield "empty-size.png", png(0, 0), REFUSED
    text = b"note\0\0" + zeros(200_000_000)
    for kind in (b"zTXt", b"iCCP"):
        yield f"bomb-{kind.decode()}.png", png(4, 4, chunk(kind, text), rows=zlib.compress(bytes(13 * 4))), EITHER
    text = chunk(b"iTXt", b"note\0\1\0\0\0" + text[6:])
    yield "bomb-iTXt.png", png(4, 4, text, rows=zlib.compress(bytes(52))), EITHER
    yield "bomb-long-chunk.png", png(4, 4, struct.pack(">I", 2**31 - 1) + b"tEXtshort"), REFUSED
    for side in (65_535, 9):
        screen = b"GIF89a" + struct.pack("<2H3B", side, side, 0, 0, 0)
        yield f"bomb-{side}.gif", screen + b",\0\0\0\0\xff\xff\xff\xff\0\2\0;", REFUSED
    many = saved(picture(8, 8, "P"), "GIF")
    frame = many[many.index(b",") : -1]
    yield "many-frames.gif", many[:-1] + frame * 20_000 + b";", PICTURE
    jpeg = bytearray(saved(picture(), "JPEG"))
    place = jpeg.index(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = b"\xff\xdc\xff\xdc"
    yield "bomb.jpg", bytes(jpeg), REFUSED
    webp = bytearray(saved(picture(mode="RGBA"), "WEBP", exif=exif().tobytes()))
    webp[24:30] = b"\xff\x3f\0\xff\x3f\0"  # the canvas: 16384 x 16384
    yield "bomb.webp", bytes(webp), REFUSED
    bmp = bytearray(saved(picture(), "BMP"))
    for number, (width, height) in enumerate(((60_000, 60_000), (48, -60_000), (2**31 - 1, 1), (-48, 40), (0, 40))):
        yield f"bomb-{number}.bmp", bytes(bmp[:18]) + struct.pack("<2i", width, height) + bytes(bmp[26:]), REFUSED
    tiff = saved(picture(), "TIFF")
    for tag, value, name in ((256, 2**31, "width"), (257, 2**31, "height"), (273, 2**32 - 8, "offset"),
                             (279, 2**32 - 8, "count"), (277, 65_535, "samples"), (258, 77, "bits")):  # fmt: skip
        yield f"bomb-{name}.tif", _with_tag(tiff, tag, value), EITHER if name == "count" else REFUSED
    first = struct.unpack("<I", tiff[4:8])[0]
    end = first + 2 + 12 * struct.unpack("<H", tiff[first : first + 2])[0]
    yield "endless.tif", tiff[:end] + struct.pack("<I", first) + tiff[end + 4 :], PICTURE
    hidden = png(20_000, 20_000)
    yield "bomb-inside.ico", struct.pack("<3H4B2H2I", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(hidden), 22) + hidden, REFUSED
    icon = struct.pack(">4sI4sI", b"icns", 16 + len(hidden), b"ic07", 8 + len(hidden))
    yield "bomb-inside.icns", icon + hidden, REFUSED
    psd = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 30_000, 30_000, 8, 3)
    yield "bomb.psd", psd + bytes(12) + b"\0\1" + bytes(50), REFUSED
    yield "bomb.ppm", b"P6 60000 60000 255\n" + bytes(100), REFUSED
    yield "bomb.tga", struct.pack("<3B5x4H2B", 0, 0, 10, 0, 0, 65_000, 65_000, 24, 0) + bytes(50), REFUSED
    yield "bomb.qoi", b"qoif" + struct.pack(">2I2B", 60_000, 60_000, 3, 0) + bytes(50), REFUSED
    gz = gzip.compress(bytes(1 << 22), mtime=0)
    cards = ["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0", "END"]
    table = ["XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 8", "NAXIS2  = 1", "ZIMAGE  = T",
             "ZCMPTYPE= 'GZIP_1  '", "ZBITPIX = 8", "ZNAXIS  = 2", "ZNAXIS1 = 9000", "ZNAXIS2 = 9000",
             "END"]  # fmt: skip
    fits = "".join("".join(card.ljust(80) for card in part).ljust(2880) for part in (cards, table)).encode()
    yield "bomb.fits", fits + bytes(8) + gz, REFUSED


def _with_tag(tiff: bytes, tag: int, value: int) -> bytes:
    """Change one entry of a little-endian file's directory to a single 32-bit number."""
    changed = bytearray(tiff)
    first = struct.unpack("<I", tiff[4:8])[0]
    for entry in range(struct.unpack("<H", tiff[first : first + 2])[0]):
        place = first + 2 + 12 * entry
        if struct.unpack("<H", tiff[place : place + 2])[0] == tag:
            changed[place + 2 : place + 12] = struct.pack("<H2I", 4, 1, value)
    return bytes(changed)


def largest(folder: Path) -> list[Case]:
    """Write small files with pictures just within the limit of 100 megapixels, of the kinds that need most memory."""
    coloured = chunk(b"iCCP", b"x\0\0" + zlib.compress(profile()))
    linear = chunk(b"gAMA", struct.pack(">I", 100_000))
    made = {
        "alpha": (8, 6, 4, ()), "profile": (8, 6, 4, (coloured,)), "gamma": (8, 6, 4, (linear,)),
        "16-bit": (16, 0, 2, ()),
        "palette": (8, 3, 1, (chunk(b"PLTE", bytes(range(96))), chunk(b"tRNS", b"\0\x80"))),
    }  # fmt: skip
    cases = []
    for name, (bits, colours, width, chunks) in made.items():
        path = folder / f"largest-{name}.png"
        rows = zeros((width * 10_000 + 1) * 10_000)
        path.write_bytes(png(10_000, 10_000, *chunks, bits=bits, colours=colours, rows=rows))
        cases.append(Case(path, PICTURE))
    Image.new("F", (10_000, 10_000)).save(folder / "largest-float.tif", compression="tiff_deflate")
    Image.new("RGB", (10_000, 10_000)).save(folder / "largest-turned.jpg", exif=exif(6))
    plane = zeros(2 * 10_000 * 10_000)
    tifffile.imwrite(folder / "largest-planes.tif", iter([plane] * 3), shape=(3, 10_000, 10_000), dtype=np.uint16,
                     photometric="rgb", planarconfig="separate", compression="zlib", rowsperstrip=10_000)  # fmt: skip
    names = ("largest-float.tif", "largest-turned.jpg", "largest-planes.tif")
    return [*cases, *(Case(folder / name, PICTURE) for name in names)]


def png(width: int, height: int, *chunks: bytes, bits: int = 8, colours: int = 2, rows: bytes | None = None) -> bytes:
    """Return a PNG file whose header claims a size. Without `rows`, it has far too few pixels for this."""
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, colours, 0, 0, 0))
    body = zlib.compress(b"\0" * 1000, 9) if rows is None else rows
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """Return `count` zero bytes as zlib data, a thousand times smaller.

    After a full flush the compressor forgets what came before. So one block is compressed, and repeated.
    """
    block = bytes(1 << 20)
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)  # without zlib's header and checksum
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(block[: count % len(block)]) + packer.flush()
    checksum = (count % 65521) << 16 | 1  # Adler-32 of `count` zeros
    return b"\x78\xda" + packed * (count // len(block)) + rest + checksum.to_bytes(4, "big")
