"""A picture is read as Chromium shows it, so that the page's preview and the painting agree."""

import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from helpers.browsing import shown_on_white
from helpers.picture_files import ADOBE, ICCP, P3, SWAPPED, XMP, avif, chrm, chunk, cicp, gama, laid_on_white
from helpers.pictures import make_picture
from tools.corpus.formats import saved
from tools.corpus.rasters import RGB, RGB_ALPHA, bmp_variants, png_variants

MOST = 4  # of 255: the mean difference
PICTURE = make_picture(97, 64)
PNG = saved(PICTURE, "PNG")
DATA = PNG.index(b"IDAT") - 4  # where the pixels begin


def png_with(*chunks: bytes) -> bytes:
    return PNG[:DATA] + b"".join(chunks) + PNG[DATA:]


def exif(orientation: int = 6) -> Image.Exif:
    made = Image.Exif()
    made[274] = orientation
    return made


def files() -> dict[str, bytes]:
    """Return files by their names. Of PQ and HLG, Chromium shows less than the reference white as white."""
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    exif_chunk = chunk(b"eXIf", exif().tobytes()[6:])
    made = {
        "plain.png": PNG, "gama.png": png_with(gama(1.0)), "p3-gama.png": png_with(gama(1 / 2.2), chrm(*P3)),
        "chrm.png": png_with(chrm(*P3)), "srgb-gama.png": png_with(gama(1.0), chunk(b"sRGB", b"\0")),
        "p3.png": png_with(cicp(12, 13)), "bt2020.png": png_with(cicp(9, 14)), "linear.png": png_with(cicp(1, 8)),
        "narrow.png": png_with(cicp(9, 8, full_range=0)),
        "profile.png": png_with(chunk(b"iCCP", ICCP + zlib.compress(SWAPPED))),
        "exif.png": png_with(exif_chunk), "exif-behind.png": PNG[:-12] + exif_chunk + PNG[-12:],
        "xmp.png": saved(PICTURE, "PNG", pnginfo=text),
        "exif.jpg": saved(PICTURE, "JPEG", exif=exif(5)), "xmp.jpg": saved(PICTURE, "JPEG", xmp=XMP),
        "adobe.jpg": saved(PICTURE, "JPEG", icc_profile=ADOBE, quality=95),
        "grey.jpg": saved(PICTURE.convert("L"), "JPEG", progressive=True),
        "behind.jpg": saved(PICTURE, "JPEG") + b"end",
        "exif.webp": saved(PICTURE, "WEBP", exif=exif()), "adobe.webp": saved(PICTURE, "WEBP", icc_profile=ADOBE),
        "xmp.webp": saved(PICTURE, "WEBP", lossless=True, xmp=XMP),
        "exif.avif": saved(PICTURE, "AVIF", exif=exif(7)), "xmp.avif": saved(PICTURE, "AVIF", xmp=XMP),
        "p3.avif": avif(np.asarray(PICTURE), 12, 13), "bt709.avif": avif(np.asarray(PICTURE), 1, 1),
        "linear.avif": avif(np.asarray(PICTURE), 1, 8), "adobe.avif": saved(PICTURE, "AVIF", icc_profile=ADOBE),
        "plain.gif": saved(PICTURE.quantize(), "GIF"), "endless.gif": saved(PICTURE.quantize(), "GIF")[:-1],
        "plain.bmp": saved(PICTURE, "BMP"), "palette.bmp": saved(PICTURE.quantize(), "BMP"),
        "plain.ico": saved(PICTURE, "ICO"),
    }  # fmt: skip
    made |= {v.name: v.data for v in png_variants() if v.name.startswith((f"type{RGB_ALPHA}", f"type{RGB}"))}
    # With a declared alpha of zero, Chromium shows nothing; this package shows the picture.
    return made | {v.name: v.data for v in bmp_variants() if not v.name.startswith("zero") or "-0-" in v.name}


FILES = files()


@pytest.fixture(scope="module")
def blank_page(browser):
    page = browser.new_page()
    yield page
    page.close()


@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_read_as_chromium_shows_it(blank_page, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FILES[name])
    shown = np.asarray(shown_on_white(blank_page, path)).astype(int)
    read = laid_on_white(path)
    assert read.shape == shown.shape
    assert abs(read - shown).mean() < MOST
