"""PNG, BMP, ICO and TGA files over colour type, bit depth, interlace, transparency, masks and headers.

They are written from the specifications, and each comes with the picture that it shows.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from helpers.picture_files import chunk
from tools.corpus.case import PICTURE, Entry, Variant
from tools.corpus.formats import picture

WIDTH, HEIGHT = 37, 21  # odd, so that rows need padding
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # PNG's colour types
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGB_ALPHA: (8, 16)}
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
MASKS = {  # red, green, blue and alpha, by bits
    16: ((0x7C00, 0x3E0, 0x1F, 0), (0xF800, 0x7E0, 0x1F, 0), (0xF00, 0xF0, 0xF, 0), (0x7C00, 0x3E0, 0x1F, 0x8000)),
    32: ((0xFF0000, 0xFF00, 0xFF, 0), (0xFF, 0xFF00, 0xFF0000, 0), (0x3FF00000, 0xFFC00, 0x3FF, 0),
         (0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
}  # fmt: skip


def raster_files() -> Iterator[Entry]:
    """Yield the PNG and TGA files, and a part of the BMP files, for the corpus; `tests/test_rasters.py` reads all."""
    for variant in (*png_variants(), *list(bmp_variants())[::3], *tga_variants()):
        yield variant.name, variant.data, PICTURE


def shown_picture(mode: str = "RGB") -> np.ndarray:
    """Return the picture that most files show, (H, W, 3) in [0, 255]."""
    return np.asarray(picture(WIDTH, HEIGHT).convert(mode).convert("RGB")).astype(float)


def _opacity() -> np.ndarray:
    return np.linspace(0.1, 1, WIDTH)[None, :, None].repeat(HEIGHT, 0)


def _on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return colours * alpha + 255 * (1 - alpha)


def png_variants() -> Iterator[Variant]:
    """Yield every colour type in every bit depth, with and without interlace and transparency."""
    for kind, depths in DEPTHS.items():
        for bits in depths:
            for transparent in (False, True) if kind in (GREY, RGB, PALETTE) else (False,):
                samples, chunks, shown = _png_samples(kind, bits, transparent)
                for interlace in (False, True):
                    name = f"type{kind}-{bits}{'-transparent' * transparent}{'-interlaced' * interlace}.png"
                    yield Variant(name, write_png(samples, kind, bits, interlace, *chunks), shown)


def _png_samples(kind: int, bits: int, transparent: bool) -> tuple[np.ndarray, list[bytes], np.ndarray]:
    """Return (H, W, channels) samples, the chunks that belong to them, and the picture that they show."""
    top = 2**bits - 1
    colours = shown_picture("L" if kind in (GREY, PALETTE, GREY_ALPHA) else "RGB")
    values = (colours / 255 * top).round().astype(np.uint16)
    shown, chunks = values * 255.0 / top, []
    if kind in (GREY, GREY_ALPHA, PALETTE):
        values = values[..., :1]
    clear = values[0, 0]  # the colour that is transparent
    if kind == PALETTE:
        ramp = np.linspace(0, 255, top + 1).astype(np.uint8)
        palette = np.stack([ramp, ramp[::-1], ramp // 2], 1)
        chunks.append(chunk(b"PLTE", palette.tobytes()))
        shown = palette[values[..., 0]].astype(float)
        if transparent:
            chunks.append(chunk(b"tRNS", bytes(0 if place == clear[0] else 255 for place in range(top + 1))))
    elif transparent:
        chunks.append(chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear.tolist())))
    if transparent:
        shown = np.where((values == clear).all(2, keepdims=True), 255, shown)
    if kind in (GREY_ALPHA, RGB_ALPHA):
        alpha = (_opacity() * top).round()
        values, shown = np.concatenate([values, alpha.astype(np.uint16)], 2), _on_white(shown, alpha / top)
    return values, chunks, shown


def write_png(samples: np.ndarray, kind: int, bits: int, interlace: bool, *chunks: bytes) -> bytes:
    """Return a PNG file of (H, W, channels) samples."""
    passes = [samples[y::down, x::right] for y, x, down, right in ADAM7] if interlace else [samples]
    rows = b"".join(b"\0" + _pack(row, bits) for part in passes if part.size for row in part)
    header = struct.pack(">2I5B", samples.shape[1], samples.shape[0], bits, kind, 0, 0, interlace)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _pack(row: np.ndarray, bits: int) -> bytes:
    places = (row.reshape(-1, 1) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(places.astype(np.uint8).ravel()).tobytes()


def bmp_variants() -> Iterator[Variant]:
    """Yield headers and masks, with a fourth byte that is unused, zero or an alpha."""
    alpha = _opacity()
    for bits, all_masks in MASKS.items():
        for masks in all_masks:
            tops = np.array([mask // (mask & -mask) for mask in masks[:3]])
            shown = (shown_picture() / 255 * tops).round() / tops * 255
            for header in (40, 56, 108, 124) if not masks[3] else (56, 108, 124):
                name = f"bits{bits}-{masks[0]:x}-{masks[3]:x}-header{header}.bmp"
                whole = np.ones_like(alpha)
                yield Variant(f"whole-{name}", write_bmp(shown, whole, bits, masks, header), shown)
                yield Variant(f"zero-{name}", write_bmp(shown, 0 * whole, bits, masks, header), shown)
                if bin(masks[3]).count("1") == 8:
                    transparent = _on_white(shown, alpha)
                    yield Variant(f"alpha-{name}", write_bmp(shown, alpha, bits, masks, header), transparent)
    shown = shown_picture()
    for fill in (0.0, 0.5, 1.0):
        data = write_bmp(shown, np.full_like(alpha, fill), 32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), 40, compression=0)
        yield Variant(f"plain-{fill}.bmp", data, shown)


def write_bmp(
    colours: np.ndarray, alpha: np.ndarray, bits: int, masks: tuple[int, ...], header: int, compression: int = 3
) -> bytes:
    """Return a BMP file of (H, W, 3) in [0, 255] and (H, W, 1) in [0, 1], each in the bits of its mask."""
    parts = np.concatenate([colours / 255, alpha], 2)[::-1]
    values = np.zeros(parts.shape[:2], np.uint32)
    for channel, mask in enumerate(masks):
        lowest = mask & -mask
        if mask:
            values |= ((parts[..., channel] * (mask // lowest)).round().astype(np.uint32) * lowest).astype(np.uint32)
    rows = b"".join(row.astype(f"<u{bits // 8}").tobytes().ljust(-(-WIDTH * bits // 32) * 4, b"\0") for row in values)
    info = struct.pack("<I2i2H6I", header, WIDTH, HEIGHT, 1, bits, compression, len(rows), 2835, 2835, 0, 0)
    if compression == 3:
        info += struct.pack("<4I", *masks)[: 16 if header > 40 else 12]
    info = info.ljust(header, b"\0")
    start = 14 + len(info)
    return b"BM" + struct.pack("<I4xI", start + len(rows), start) + info + rows


def tga_variants() -> Iterator[Variant]:
    """Yield 32 bits with a fourth byte that is unused, zero or an alpha, as the descriptor or the footer says."""
    shown, alpha = shown_picture(), _opacity()
    transparent = _on_white(shown, alpha)
    yield Variant("alpha.tga", write_tga(shown, alpha, 8), transparent)
    yield Variant("alpha-useful.tga", write_tga(shown, alpha, 8, 3), transparent)
    yield Variant("alpha-zero.tga", write_tga(shown, 0 * alpha, 8), shown)
    yield Variant("alpha-undeclared.tga", write_tga(shown, alpha, 0), shown)
    for attributes in (0, 1, 2):
        yield Variant(f"alpha-undefined-{attributes}.tga", write_tga(shown, alpha, 8, attributes), shown)


def write_tga(colours: np.ndarray, alpha: np.ndarray, alpha_bits: int, attributes: int | None = None) -> bytes:
    """Return a TGA file of (H, W, 3) in [0, 255] and (H, W, 1) in [0, 1]; with `attributes`, it has a footer."""
    pixels = np.concatenate([colours[..., ::-1], 255 * alpha], 2).round().astype(np.uint8)
    header = struct.pack("<3B5x4H2B", 0, 0, 2, 0, 0, WIDTH, HEIGHT, 32, 0x20 | alpha_bits)
    data = header + pixels.tobytes()
    if attributes is None:
        return data
    extension = struct.pack("<H", 495).ljust(494, b"\0") + bytes([attributes])
    return data + extension + struct.pack("<2I", len(data), 0) + b"TRUEVISION-XFILE.\0"
