"""Pictures in every format that Pillow reads, and formats that it only recognizes."""

import io
import struct
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tools.corpus.case import EITHER, REFUSED, Entry


def picture(width: int = 48, height: int = 40, mode: str = "RGB") -> Image.Image:
    """Return a smooth picture of a size and a mode."""
    coarse = Image.fromarray(np.random.default_rng(7).integers(0, 256, (5, 6, 3), dtype=np.uint8))
    image = coarse.resize((width, height), Image.Resampling.BICUBIC)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode in ("RGBA", "LA", "PA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    """Return the image as a file of Pillow's format `kind`."""
    buffer = io.BytesIO()
    if image.mode == "LAB":
        image.info = {}  # it has a profile, which has the time in it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow will soon no longer write 32 bits as PNG
        image.save(buffer, kind, **options)
    return buffer.getvalue()


def valid_pictures() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of a file of every format that Pillow writes, in every mode of that format."""
    Image.init()
    names = {"RGB": "rgb", "RGBA": "alpha", "L": "grey", "LA": "grey-alpha", "P": "palette", "1": "bilevel",
             "CMYK": "cmyk", "I;16": "16-bit", "I": "32-bit", "F": "float", "YCbCr": "ycbcr", "LAB": "lab"}  # fmt: skip
    kinds = {
        "png": ("PNG", "RGB RGBA L LA P 1 I;16 I"), "jpg": ("JPEG", "RGB L CMYK YCbCr"), "webp": ("WEBP", "RGB RGBA"),
        "tif": ("TIFF", "RGB RGBA L LA P 1 CMYK I;16 I F LAB"), "gif": ("GIF", "RGB L P 1"),
        "bmp": ("BMP", "RGB RGBA L P 1"), "dib": ("DIB", "RGB"), "avif": ("AVIF", "RGB RGBA L"),
        "jp2": ("JPEG2000", "RGB RGBA L LA I;16"), "dds": ("DDS", "RGB RGBA L LA"), "ico": ("ICO", "RGB RGBA"),
        "icns": ("ICNS", "RGB RGBA"), "im": ("IM", "RGB L CMYK F I;16 LA"), "msp": ("MSP", "1"),
        "pcx": ("PCX", "RGB L P 1"), "ppm": ("PPM", "RGB L 1 I;16 F"), "sgi": ("SGI", "RGB RGBA L"),
        "spider": ("SPIDER", "F"), "tga": ("TGA", "RGB RGBA L LA P 1"), "xbm": ("XBM", "1"), "blp": ("BLP", "P"),
        "qoi": ("QOI", "RGB RGBA"),
    }  # fmt: skip
    for suffix, (kind, modes) in kinds.items():
        for mode in modes.split() if kind in Image.SAVE else ():
            try:
                yield f"{names[mode]}.{suffix}", saved(picture(mode=mode), kind)
            except OSError:  # an older Pillow has fewer modes
                continue
    for compression in ("tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "jpeg"):
        name = compression.removeprefix("tiff_").replace("_", "-")
        yield f"rgb-{name}.tif", saved(picture(), "TIFF", compression=compression)
    yield "cmyk-progressive.jpg", saved(picture(mode="CMYK"), "JPEG", progressive=True)
    yield "progressive.jpg", saved(picture(), "JPEG", progressive=True, subsampling=0)
    frames = [picture(), picture().rotate(90), picture().rotate(180)]
    for suffix, kind in (("gif", "GIF"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF"), ("avif", "AVIF")):
        yield f"animated.{suffix}", saved(frames[0], kind, save_all=True, append_images=frames[1:])
    yield "several.mpo", saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    yield "one-transparent.png", saved(picture(mode="P"), "PNG", transparency=3)
    yield "one-transparent.gif", saved(picture(mode="P"), "GIF", transparency=3)
    yield "transparent-rgb.png", saved(picture(), "PNG", transparency=(1, 2, 3))


def handmade_pictures() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of files in formats that Pillow reads but does not write."""
    width, height, pixels = 48, 40, picture().tobytes()
    grey = picture(mode="L").tobytes()
    icon = bytearray(saved(picture(mode="RGBA"), "ICO", bitmap_format="bmp", sizes=[(32, 32)]))
    icon[2] = 2  # a cursor has the format of an icon
    yield "cursor.cur", bytes(icon)
    yield "fax.dcx", struct.pack("<3I", 0x3ADE68B1, 12, 0) + saved(picture(), "PCX")
    yield "brush.gbr", struct.pack(">5I4sI", 32, 2, width, height, 1, b"GIMP", 10) + b"brus" + grey
    planes = b"".join(picture().getchannel(c).tobytes() for c in "RGB")
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, height, width, 8, 3)
    yield "layers.psd", header + bytes(12) + b"\0\0" + planes
    sun = struct.pack(">8I", 0x59A66A95, width, height, 24, len(pixels), 1, 0, 0)
    yield "raster.sun", sun + picture().tobytes("raw", "BGR")
    rows = ",\n".join(f'"{"ab" * (width // 2)}"' for _ in range(height))
    start = f'/* XPM */\nstatic char *x[] = {{\n"{width} {height} 2 1",\n"a c #FF0000",\n"b c #00FF00",\n'
    yield "icon.xpm", f"{start}{rows}\n}};\n".encode()
    yield "thumb.xv", f"P7 332\n#END_OF_COMMENTS\n{width} {height} 255\n".encode() + grey


def unreadable_formats() -> Iterator[Entry]:
    """Yield files that Pillow recognizes by their first bytes but cannot read, or only with another program."""
    cards = ["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 48", "NAXIS2  = 40", "END"]
    yield "stars.fits", "".join(card.ljust(80) for card in cards).ljust(2880).encode() + bytes(2880), REFUSED
    yield "postscript.eps", saved(picture(), "EPS"), REFUSED
    yield "program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n(x) run { } loop\n%%EOF\n", REFUSED
    yield "weather.grib", b"GRIB" + bytes(3) + b"\1" + bytes(60), REFUSED
    yield "weather.bufr", b"BUFR" + bytes(60), REFUSED
    yield "data.hdf5", b"\x89HDF\r\n\x1a\n" + bytes(60), REFUSED
    yield "drawing.wmf", b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<4hH", 0, 0, 40, 40, 72) + bytes(60), REFUSED
    yield "film.mpg", b"\0\0\1\xb3\x03\x00\x28" + bytes(60), REFUSED
    yield "photo.pcd", bytes(2048) + b"PCD_" + bytes(2000), REFUSED
    yield "film.fli", struct.pack("<IHHHHHHI", 128, 0xAF11, 1, 48, 40, 8, 3, 100).ljust(128, b"\0"), EITHER
    yield "texture.ftu", b"FTEX" + struct.pack("<8I", 65536, 48, 40, 1, 1, 0, 32, 0) + bytes(10), EITHER
    yield "picture.pxr", (b"\200\350\0\0" + bytes(412)).ljust(600, b"\0"), EITHER
    yield "area.mcidas", (b"\0\0\0\0\0\0\0\4" + bytes(248)), EITHER
    yield "news.iptc", b"\x1c\x03\x14\0\1\0" * 10, EITHER
    yield "scan.imt", b"*8 width 10 height 10\nx\n\x0c" + bytes(80), EITHER
    yield "paged.pdf", b"%PDF-1.4\n" + bytes(200), REFUSED
