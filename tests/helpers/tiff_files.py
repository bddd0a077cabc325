"""TIFF files, written from the specification (TIFF 6.0): every bit depth, photometric, planar layout and byte order."""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

COMPRESSIONS = {"none": 1, "lzw": 5, "jpeg": 7, "deflate": 8, "packbits": 32773}
PHOTOMETRICS = {"miniswhite": 0, "minisblack": 1, "rgb": 2, "palette": 3, "cmyk": 5, "ycbcr": 6, "cfa": 32803}
EXTRA_SAMPLES = {"unspecified": 0, "associated": 1, "unassociated": 2}
FORMATS = {"u": 1, "i": 2, "f": 3}
ROWS_PER_STRIP = 10  # so that a small picture has several strips


@dataclass
class TiffPage:
    """One page: the (H, W, channels) samples as they are stored, and how the file describes them."""

    samples: np.ndarray
    photometric: str
    bits: int | None = None  # by default those of the samples' type; fewer are packed
    planar: bool = False
    compression: str = "none"
    extra: str | None = None
    palette: np.ndarray | None = None  # (3, 2 ** bits) uint16
    tags: tuple[tuple[int, int, tuple[int, ...]], ...] = ()  # (tag, type, values); type 3 is 16 bits, type 4 is 32
    children: tuple["TiffPage", ...] = ()  # its SubIFDs


def tiff(*pages: TiffPage, order: str = "<") -> bytes:
    """Return a TIFF file with these pages, in the byte order "<" or ">"."""
    file = bytearray({"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 0))
    link = 4  # where the offset of the next page is written
    for page in pages:
        start, next_link = _add_page(file, page, order)
        file[link : link + 4] = struct.pack(f"{order}I", start)
        link = next_link
    return bytes(file)


def _add_page(file: bytearray, page: TiffPage, order: str) -> tuple[int, int]:
    """Append a page. Return where its directory starts, and where the offset of the next one belongs."""
    children = [_add_page(file, child, order)[0] for child in page.children]
    height, width, channels = page.samples.shape
    bits = page.bits or 8 * page.samples.dtype.itemsize
    strips = []
    planes = [page.samples[..., c : c + 1] for c in range(channels)] if page.planar else [page.samples]
    for plane in planes:
        for row in range(0, height, ROWS_PER_STRIP):
            packed = _compress(_pack(plane[row : row + ROWS_PER_STRIP], bits, order), page, plane[row : row + 10])
            strips.append((len(file), len(packed)))
            file += packed + bytes(len(packed) % 2)
    offsets, counts = zip(*strips, strict=True)
    entries = [
        (256, 4, (width,)), (257, 4, (height,)), (258, 3, (bits,) * channels),
        (259, 3, (COMPRESSIONS[page.compression],)), (262, 3, (PHOTOMETRICS[page.photometric],)), (273, 4, offsets),
        (277, 3, (channels,)), (278, 4, (ROWS_PER_STRIP,)), (279, 4, counts), (284, 3, (1 + page.planar,)),
        (339, 3, (FORMATS[page.samples.dtype.kind],) * channels), *page.tags,
    ]  # fmt: skip
    if page.extra:
        entries.append((338, 3, (EXTRA_SAMPLES[page.extra],)))
    if page.palette is not None:
        entries.append((320, 3, tuple(page.palette.ravel().tolist())))
    if children:
        entries.append((330, 4, tuple(children)))
    return _add_directory(file, sorted(entries), order)


def _add_directory(file: bytearray, entries: list, order: str) -> tuple[int, int]:
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, values in entries:
        data = struct.pack(f"{order}{len(values)}{ {1: 'B', 3: 'H', 4: 'I'}[kind] }", *values)
        if len(data) > 4:
            place, data = len(file), data + bytes(len(data) % 2)
            file += data
            data = struct.pack(f"{order}I", place)
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    start = len(file)
    file += directory + bytes(4)
    return start, start + len(directory)


def _pack(rows: np.ndarray, bits: int, order: str) -> bytes:
    if bits < 8:
        values = rows.reshape(len(rows), -1, 1)
        planes = (values >> np.arange(bits - 1, -1, -1)) & 1
        return np.packbits(planes.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()
    return rows.astype(rows.dtype.newbyteorder(order)).tobytes()


def _compress(data: bytes, page: TiffPage, rows: np.ndarray) -> bytes:
    if page.compression == "jpeg":
        buffer = io.BytesIO()
        mode = {1: "L", 3: "RGB", 4: "CMYK"}[rows.shape[2]]
        rows = 255 - rows if mode == "CMYK" else rows  # Pillow writes the inverse, as Photoshop does in JPEG files
        picture = Image.fromarray(np.squeeze(rows, 2) if mode == "L" else rows, mode)
        picture.save(buffer, "JPEG", quality=95, subsampling=0, **({"keep_rgb": True} if mode == "RGB" else {}))
        return buffer.getvalue()
    return {"none": bytes, "deflate": zlib.compress, "packbits": _packbits, "lzw": _lzw}[page.compression](data)


def _packbits(data: bytes) -> bytes:
    """Return the bytes in PackBits without any runs: parts of up to 128 bytes, each after its length less one."""
    parts = (data[start : start + 128] for start in range(0, len(data), 128))
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def _lzw(data: bytes) -> bytes:
    """Return the bytes in LZW without any strings: a clear code before every 200 bytes keeps all codes at 9 bits."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    text = "".join(f"{code:09b}" for code in [*codes, 257])
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")
