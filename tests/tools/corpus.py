"""Hostile and odd files, made anew from a seed: what strangers upload, by accident or not.

`make_corpus(folder)` writes them and says of each whether it is a picture, must be refused, or may be either (a flipped
bit may hit what nobody looks at). Private metadata in them is made of the words in `SECRETS`.
"""

import gzip
import io
import os
import pickle
import socket
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from helpers.handmade import chunk

PICTURE, REFUSED, EITHER = "picture", "refused", "either"
SECRETS = ("SECRETCAMERA", "SECRETOWNER", "SECRETPLACE", "SECRETNOTE")
LATITUDE = 52.123456  # as three fractions in EXIF: 52, 7, and 24.4416 of the form 244416/10000
MARK = (244416).to_bytes(4, "big")  # how that looks in a big-endian file
FLIPS, CUTS = 10, (0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 0.999)


@dataclass(frozen=True)
class Case:
    """A file (or whatever else lies at `path`) and what must become of it."""

    path: Path
    expected: str

    @property
    def regular(self) -> bool:
        """Whether it can be uploaded: a link, a folder or a pipe cannot."""
        return self.path.is_file() and not self.path.is_symlink()


def make_corpus(folder: Path, seed: int = 0) -> list[Case]:
    """Write all files into `folder`: about 500, 20 MB."""
    cases = []
    for number, (name, data, expected) in enumerate(_files(np.random.default_rng(seed))):
        path = folder / f"{number:03}-{name}"
        path.write_bytes(data)
        cases.append(Case(path, expected))
    return cases + list(_no_files(folder))


def _files(rng: np.random.Generator) -> Iterator[tuple[str, bytes, str]]:
    valid = dict(_formats())
    for name, data in valid.items():
        yield name, data, PICTURE
    for name, data in _readable_only():
        yield name, data, PICTURE
    for parts in (_stubs, _metadata, _profiles, _shapes, _bombs, _strangers):
        yield from parts()
    for name in ("rgb.png", "rgb.jpg", "rgb.webp", "rgb-lzw.tif", "animated.gif", "rgb.bmp", "rgb.avif", "rgb.jp2"):
        for cut in CUTS if name in valid else ():
            kept = valid[name][: int(len(valid[name]) * cut)]
            yield f"cut-{cut}-{name}", kept, REFUSED if cut <= 0.2 else EITHER  # a film's first picture may be whole
    for name in ("rgb.png", "rgb.jpg", "rgb.webp", "rgb-lzw.tif", "cmyk.tif", "animated.gif", "rgb.avif", "rgb.jp2",
                 "palette.png", "rgb.ico", "rgb.icns", "rgb.tga", "rgb.dds", "animated.png"):  # fmt: skip
        for flip in range(FLIPS if name in valid else 0):
            yield f"flip-{flip}-{name}", _flipped(valid[name], rng, flip), EITHER
    others = {"rgb.png": "jpg", "rgb.jpg": "png", "rgb.webp": "gif", "animated.gif": "txt", "rgb.bmp": "heic",
              "rgb-lzw.tif": "svg", "grey.jpg": "", "alpha.png": "exe"}  # fmt: skip
    for name, suffix in others.items():
        yield f"called-otherwise-{name.replace('.', '-')}{'.' * bool(suffix)}{suffix}", valid[name], PICTURE


def _flipped(data: bytes, rng: np.random.Generator, how: int) -> bytes:
    """A few bits anywhere, or in the first 64 bytes, where the sizes are."""
    changed = bytearray(data)
    for place in rng.integers(0, len(data) if how % 2 else min(64, len(data)), 1 + how):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


# Pictures


def picture(width: int = 48, height: int = 40, mode: str = "RGB") -> Image.Image:
    coarse = Image.fromarray(np.random.default_rng(7).integers(0, 256, (5, 6, 3), dtype=np.uint8))
    image = coarse.resize((width, height), Image.Resampling.BICUBIC)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode in ("RGBA", "LA", "PA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    if image.mode == "LAB":
        image.info = {}  # a profile, with the time in it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 32 bits as PNG, soon no more
        image.save(buffer, kind, **options)
    return buffer.getvalue()


def _formats() -> Iterator[tuple[str, bytes]]:
    """All that Pillow writes, in the modes it has there."""
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


def _readable_only() -> Iterator[tuple[str, bytes]]:
    """By hand, what Pillow reads and does not write."""
    width, height, pixels = 48, 40, picture().tobytes()
    grey = picture(mode="L").tobytes()
    icon = bytearray(saved(picture(mode="RGBA"), "ICO", bitmap_format="bmp", sizes=[(32, 32)]))
    icon[2] = 2
    yield "cursor.cur", bytes(icon)
    yield "fax.dcx", struct.pack("<3I", 0x3ADE68B1, 12, 0) + saved(picture(), "PCX")
    yield "brush.gbr", struct.pack(">5I4sI", 32, 2, width, height, 1, b"GIMP", 10) + b"brush\0\0\0"[:4] + grey
    planes = b"".join(picture().getchannel(c).tobytes() for c in "RGB")
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, height, width, 8, 3)
    yield "layers.psd", header + bytes(12) + b"\0\0" + planes
    sun = struct.pack(">8I", 0x59A66A95, width, height, 24, len(pixels), 1, 0, 0)
    yield "raster.sun", sun + picture().tobytes("raw", "BGR")
    rows = ",\n".join(f'"{"ab" * (width // 2)}"' for _ in range(height))
    start = f'/* XPM */\nstatic char *x[] = {{\n"{width} {height} 2 1",\n"a c #FF0000",\n"b c #00FF00",\n'
    yield "icon.xpm", f"{start}{rows}\n}};\n".encode()
    yield "thumb.xv", f"P7 332\n#END_OF_COMMENTS\n{width} {height} 255\n".encode() + grey


def _stubs() -> Iterator[tuple[str, bytes, str]]:
    """Formats that Pillow knows by their first bytes and cannot read, or only by running another program."""
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


# Metadata and colour


def exif(orientation: int = 1, private: bool = True) -> Image.Exif:
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = orientation
    if private:
        made[ExifTags.Base.Model], made[ExifTags.Base.Artist] = SECRETS[:2]
        place = {1: "N", 2: (52.0, 7.0, 24.4416), 3: "E", 4: (13.0, 7.0, 24.4416), 27: SECRETS[2].encode()}
        made.get_ifd(ExifTags.IFD.GPSInfo).update(place)
    return made


def xmp() -> bytes:
    said = f"{SECRETS[1]} {SECRETS[2]} GPSLatitude={LATITUDE}"
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><c>{said}</c></x:xmpmeta>'.encode()


def _metadata() -> Iterator[tuple[str, bytes, str]]:
    for orientation in (*range(1, 9), 0, 9, 65535):
        for suffix, kind in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF"), ("avif", "AVIF")):
            if kind == "JPEG" or orientation in (3, 6, 8):
                yield f"turned-{orientation}.{suffix}", saved(picture(), kind, exif=exif(orientation)), PICTURE
    text = PngImagePlugin.PngInfo()
    for key, value in zip(("Author", "Location", "Comment"), SECRETS[1:], strict=True):
        text.add_text(key, value)
        text.add_itxt(key, value, zip=True)
    text.add_itxt("XML:com.adobe.xmp", xmp().decode())
    yield "private.png", saved(picture(), "PNG", pnginfo=text, exif=exif()), PICTURE
    yield "private.jpg", saved(picture(), "JPEG", exif=exif(), xmp=xmp(), comment=SECRETS[3].encode()), PICTURE
    yield "private.webp", saved(picture(), "WEBP", exif=exif().tobytes(), xmp=xmp()), PICTURE
    yield "private.avif", saved(picture(), "AVIF", exif=exif().tobytes(), xmp=xmp()), PICTURE
    yield "private.gif", saved(picture(), "GIF", comment=SECRETS[3].encode()), PICTURE
    tags = {270: SECRETS[3], 315: SECRETS[1], 33723: SECRETS[2].encode(), 700: xmp()}
    yield "private.tif", saved(picture(), "TIFF", tiffinfo=tags), PICTURE
    large = exif()
    large[ExifTags.Base.ImageDescription] = SECRETS[3] * 4000
    yield "much-exif.jpg", saved(picture(), "JPEG", exif=large), PICTURE
    large[ExifTags.Base.ImageDescription] = SECRETS[3] * 400_000
    yield "much-exif.png", saved(picture(), "PNG", exif=large), PICTURE
    yield "much-exif.webp", saved(picture(), "WEBP", exif=large.tobytes()), PICTURE
    whole = exif(6).tobytes()
    for number, broken in enumerate((b"Exif\0\0", b"Exif\0\0MM\0*" + b"\xff" * 40, whole[:30], whole[:-20],
                                     b"Exif\0\0II*\0\x08\0\0\0" + b"\xff\xff" + bytes(200))):  # fmt: skip
        yield f"broken-exif-{number}.jpg", saved(picture(), "JPEG", exif=broken), PICTURE
        yield f"broken-exif-{number}.png", saved(picture(), "PNG", exif=broken), PICTURE
    loop = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIII", 1, 0x8769, 4, 1, 8, 8)  # a directory inside itself
    yield "endless-exif.jpg", saved(picture(), "JPEG", exif=loop), PICTURE


def profile(space: str = "sRGB") -> bytes:
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()
    return made[:24] + bytes(12) + made[36:]  # without the time


def _profiles() -> Iterator[tuple[str, bytes, str]]:
    srgb = profile()
    odd = {
        "srgb": srgb, "lab": profile("LAB"),
        "xyz": profile("XYZ"), "zero": b"\0", "text": b"icc " * 50,
        "cut": srgb[: len(srgb) // 2], "header": srgb[:128], "lying-size": b"\xff\xff\xff\xff" + srgb[4:],
        "lying-count": srgb[:128] + b"\xff\xff\xff\xff" + srgb[132:], "noise": srgb[:132] + bytes(range(256)) * 8,
        "grey": srgb[:16] + b"GRAY" + srgb[20:], "cmyk": srgb[:16] + b"CMYK" + srgb[20:],
        "link": srgb[:12] + b"link" + srgb[16:], "named": srgb[:12] + b"nmcl" + srgb[16:],
        "large": srgb + SECRETS[3].encode() * 50_000, "sixteen-colours": srgb[:16] + b"FCLR" + srgb[20:],
    }  # fmt: skip
    for name, data in odd.items():
        yield f"icc-{name}.png", saved(picture(), "PNG", icc_profile=data), PICTURE
        yield f"icc-{name}.jpg", saved(picture(), "JPEG", icc_profile=data), PICTURE
    for mode in ("L", "CMYK"):
        for name in ("srgb", "noise", "cmyk"):
            data = saved(picture(mode=mode), "TIFF", icc_profile=odd[name])
            yield f"icc-{name}-{mode.lower()}.tif", data, PICTURE


# Sizes


def _shapes() -> Iterator[tuple[str, bytes, str]]:
    for width, height in ((1, 1), (1, 40), (40, 1), (2, 2), (15, 15), (16, 16), (17, 300), (1, 20_000), (20_000, 1),
                          (6000, 20), (65_000, 3)):  # fmt: skip
        yield f"{width}x{height}.png", saved(picture(width, height), "PNG"), PICTURE
    yield "1x1.gif", saved(picture(1, 1), "GIF"), PICTURE
    yield "1x1.jpg", saved(picture(1, 1), "JPEG"), PICTURE
    yield "large-4000x3000.jpg", saved(picture(4000, 3000), "JPEG"), PICTURE


def png(width: int, height: int, *chunks: bytes, bits: int = 8, colours: int = 2, rows: bytes | None = None) -> bytes:
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, colours, 0, 0, 0))
    body = zlib.compress(b"\0" * 1000, 9) if rows is None else rows
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """`count` zero bytes, compressed a thousandfold without being held."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(min(1 << 20, count - start))) for start in range(0, count, 1 << 20)]
    return b"".join(parts) + packer.flush()


def _bombs() -> Iterator[tuple[str, bytes, str]]:
    """Small files that want much memory, or lie about how much."""
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
    """One entry of a little-endian file's directory changed, as a single 32-bit number."""
    changed = bytearray(tiff)
    first = struct.unpack("<I", tiff[4:8])[0]
    for entry in range(struct.unpack("<H", tiff[first : first + 2])[0]):
        place = first + 2 + 12 * entry
        if struct.unpack("<H", tiff[place : place + 2])[0] == tag:
            changed[place + 2 : place + 12] = struct.pack("<H2I", 4, 1, value)
    return bytes(changed)


# What is no picture


def _strangers() -> Iterator[tuple[str, bytes, str]]:
    yield "empty.png", b"", REFUSED
    yield "one-byte.jpg", b"\xff", REFUSED
    yield "text.png", b"Dear diary,\nno picture here.\n" * 40, REFUSED
    yield "page.jpg", b"<!doctype html><script>alert(1)</script>", REFUSED
    yield "drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>', REFUSED
    entity = b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'
    yield "drawing.png", entity, REFUSED
    for brand in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"):
        yield f"{brand.decode()}.heic", b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(200), REFUSED
    yield "broken.avif", b"\0\0\0\x1cftypavif\0\0\0\0mif1avif" + bytes(200), REFUSED
    yield "film.mp4", b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(200), REFUSED
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("../../escape.png"), saved(picture(), "PNG"))
        archive.writestr(zipfile.ZipInfo("bomb"), bytes(1 << 16))
    yield "archive.zip", packed.getvalue(), REFUSED
    yield "archive.png", packed.getvalue(), REFUSED
    yield "packed.png", gzip.compress(saved(picture(), "PNG"), mtime=0), REFUSED
    yield "pickled.png", pickle.dumps({"a": [1] * 50}), REFUSED
    yield "program.jpg", b"\x7fELF\2\1\1" + bytes(300), REFUSED
    yield "noise.png", np.random.default_rng(5).bytes(5000), REFUSED
    yield "noise-after-magic.png", b"\x89PNG\r\n\x1a\n" + np.random.default_rng(6).bytes(5000), REFUSED
    yield "picture-then-zip.png", saved(picture(), "PNG") + packed.getvalue(), PICTURE
    yield "zeros.tif", bytes(5000), REFUSED
    yield "two\nlines \x1b[31m.png", b"not a picture", REFUSED
    yield "bidi\u202egnp.exe.png", b"not a picture", REFUSED
    yield "Ä" * 100 + ".png", b"not a picture", REFUSED
    yield "%s{0}<b>$(id)`id`.png", b"not a picture", REFUSED


def largest(folder: Path) -> list[Case]:
    """Pictures just within the limit of 100 megapixels, from small files, in the ways that cost most memory."""
    coloured = chunk(b"iCCP", b"x\0\0" + zlib.compress(profile()))
    made = {"alpha": (8, 6, 4, ()), "profile": (8, 6, 4, (coloured,)), "16-bit": (16, 0, 2, ()), "palette": (8, 3, 1, (
        chunk(b"PLTE", bytes(range(96))), chunk(b"tRNS", b"\0\x80")))}  # fmt: skip
    cases = []
    for name, (bits, colours, width, chunks) in made.items():
        path = folder / f"largest-{name}.png"
        rows = zeros((width * 10_000 + 1) * 10_000)
        path.write_bytes(png(10_000, 10_000, *chunks, bits=bits, colours=colours, rows=rows))
        cases.append(Case(path, PICTURE))
    Image.new("F", (10_000, 10_000)).save(folder / "largest-float.tif", compression="tiff_deflate")
    Image.new("RGB", (10_000, 10_000)).save(folder / "largest-turned.jpg", exif=exif(6))
    return [*cases, *(Case(folder / name, PICTURE) for name in ("largest-float.tif", "largest-turned.jpg"))]


def _no_files(folder: Path) -> Iterator[Case]:
    """Names that are no files, or not what they seem; only where the system has such things."""
    (folder / "target.png").write_bytes(saved(picture(), "PNG"))
    yield Case(folder / "target.png", PICTURE)
    yield Case(folder / "nowhere.png", REFUSED)
    (folder / "folder.png").mkdir()
    yield Case(folder / "folder.png", REFUSED)
    sparse = folder / "sparse.png"
    with open(sparse, "wb") as file:
        file.write(saved(picture(), "PNG")[:40])
        file.truncate(20 << 30)
    yield Case(sparse, REFUSED)
    if os.name != "posix":
        return
    for name, target, expected in (("link.png", "target.png", PICTURE), ("dangling.png", "nowhere", REFUSED),
                                   ("circle.png", "circle.png", REFUSED), ("endless.png", "/dev/zero", REFUSED),
                                   ("null.png", "/dev/null", REFUSED)):  # fmt: skip
        (folder / name).symlink_to(target)
        yield Case(folder / name, expected)
    os.mkfifo(folder / "pipe.png")
    yield Case(folder / "pipe.png", REFUSED)
    address = socket.socket(socket.AF_UNIX)
    here = os.open(folder, os.O_RDONLY)
    try:
        address.bind(f"/proc/self/fd/{here}/socket.png")  # an address may have 108 characters at most
        yield Case(folder / "socket.png", REFUSED)
    except OSError:
        pass
    finally:
        os.close(here)
        address.close()

