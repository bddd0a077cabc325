"""Files with something odd in them that browsers show are read, and pictures that are really cut short are refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from helpers.picture_files import ICCP, SWAPPED, chunk, laid_on_white, pixels
from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst.io.reading import load_picture
from tools.corpus.formats import saved

PICTURE = make_picture(96, 72)
PNG = saved(PICTURE, "PNG")
DATA = PNG.index(b"IDAT") - 4  # where the pixels begin


def read(tmp_path, data: bytes) -> np.ndarray:
    (tmp_path / "a").write_bytes(data)
    return pixels(load_picture(tmp_path / "a"))


def refused(tmp_path, data: bytes) -> str:
    (tmp_path / "a").write_bytes(data)
    return refusal(load_picture, tmp_path / "a")


# PNG


def wrong(data: bytes) -> bytes:
    """Return a chunk with another checksum."""
    return data[:-1] + bytes([data[-1] ^ 1])


ODD_PARTS = {
    "large-zTXt": chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(3 << 20))),
    "bomb-iTXt": chunk(b"iTXt", b"note\0\1\0\0\0" + zlib.compress(bytes(200 << 20))),
    "large-iTXt": chunk(b"iTXt", b"note\0\0\0\0\0" + b"x" * (3 << 20)),
    "large-tEXt": chunk(b"tEXt", b"note\0" + b"x" * (3 << 20)),
    "many-tEXt": b"".join(chunk(b"tEXt", b"note\0" + b"x" * (1 << 19)) for _ in range(150)),
    "damaged-zTXt": chunk(b"zTXt", b"note\0\0not compressed"),
    "damaged-iTXt": chunk(b"iTXt", b"note"),
    "checksum-gAMA": wrong(chunk(b"gAMA", struct.pack(">I", 100_000))),
    "checksum-tEXt": wrong(chunk(b"tEXt", b"note\0text")),
    "checksum-tRNS": wrong(chunk(b"tRNS", bytes(6))),
    "checksum-private": wrong(chunk(b"prIv", b"anything")),
    "short-gAMA": chunk(b"gAMA", b"\0"),
    "short-cHRM-sRGB": chunk(b"cHRM", bytes(7)) + chunk(b"sRGB", b""),
    "short-tRNS": chunk(b"tRNS", b"\0"),
    "short-acTL": chunk(b"acTL", b"\0"),
    "endless-iCCP": chunk(b"iCCP", b"profile without an end"),
    "damaged-iCCP": chunk(b"iCCP", ICCP + b"not compressed"),
    "short-eXIf": chunk(b"eXIf", b"x"),
    "short-pHYs-tIME": chunk(b"pHYs", b"\0") + chunk(b"tIME", b"\0"),
}


@pytest.mark.parametrize("odd", ODD_PARTS.values(), ids=ODD_PARTS)
def test_a_png_with_a_large_or_damaged_part_beside_the_picture_is_read(tmp_path, odd):
    assert (read(tmp_path, PNG[:DATA] + odd + PNG[DATA:]) == np.asarray(PICTURE)).all()


def test_a_recipe_beside_a_large_text_is_still_read(tmp_path):
    from nst.output.recipe import has_recipe

    texts = chunk(b"tEXt", b"note\0" + b"x" * (3 << 20)) + chunk(b"tEXt", b"nst-recipe\0{}")
    (tmp_path / "a.png").write_bytes(PNG[:DATA] + texts + PNG[DATA:])
    assert has_recipe(tmp_path / "a.png")


def test_a_profile_of_megabytes_is_used(tmp_path):
    size = 3 << 20  # real ones of this size have tables for many inks; here, zeros behind the last tag
    profile = struct.pack(">I", size) + SWAPPED[4:].ljust(size - 4, b"\0")
    result = read(tmp_path, PNG[:DATA] + chunk(b"iCCP", ICCP + zlib.compress(profile)) + PNG[DATA:])
    assert abs(result - np.asarray(PICTURE)[..., ::-1]).mean() < 4


def test_a_profile_that_expands_without_bound_is_refused(tmp_path):
    bomb = chunk(b"iCCP", ICCP + zlib.compress(bytes(100 << 20)))
    assert "colour profile" in refused(tmp_path, PNG[:DATA] + bomb + PNG[DATA:])


@pytest.mark.parametrize("end", [-12, -8, -4])
def test_a_png_without_its_end_is_read(tmp_path, end):
    assert (read(tmp_path, PNG[:end]) == np.asarray(PICTURE)).all()


# JPEG


JPEGS = [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 3}]


@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("end", [b"", b"\xff", bytes(5000), b"\r\n"])
def test_a_jpeg_without_the_marker_at_its_end_is_read(tmp_path, options, mode, end):
    data = saved(PICTURE.convert(mode), "JPEG", **options)
    assert (read(tmp_path, data[:-2] + end) == read(tmp_path, data)).all()


@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("left", [0.5, 0.8, 0.97])
@pytest.mark.parametrize("end", [b"", bytes(50_000)])
def test_a_jpeg_that_is_cut_short_is_refused(tmp_path, options, left, end):
    """A download that was broken off may be filled up with zeros."""
    data = saved(PICTURE, "JPEG", quality=95, **options)
    assert "cut short" in refused(tmp_path, data[: int(len(data) * left)] + end)


def test_a_progressive_jpeg_that_lacks_its_last_scans_is_refused(tmp_path):
    """What is left is a whole picture, but without its details."""
    data = saved(PICTURE, "JPEG", progressive=True)
    scans = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xda"]
    assert len(scans) >= 6
    for scan in scans[1:]:
        assert "cut short" in refused(tmp_path, data[:scan])


def test_a_jpeg_that_lacks_an_invisible_corner_is_read(tmp_path):
    large = make_picture(1024, 768)
    data = saved(large, "JPEG")
    assert abs(read(tmp_path, data[:-4]) - read(tmp_path, data)).mean() < 0.1


# Others


def test_a_file_with_several_pictures_gives_the_first(tmp_path):
    buffer = io.BytesIO()
    PICTURE.save(buffer, "MPO", save_all=True, append_images=[PICTURE.rotate(180)], quality=95)
    data = buffer.getvalue()
    for end in (len(data), len(data) - 2, len(data) * 2 // 3):
        assert abs(read(tmp_path, data[:end]) - np.asarray(PICTURE)).mean() < 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF", "TIFF", "ICO", "TGA", "JPEG2000"])
def test_bytes_behind_the_end_do_no_harm(tmp_path, kind):
    data = saved(PICTURE, kind)
    assert (read(tmp_path, data + b"something else" * 100) == read(tmp_path, data)).all()


@pytest.mark.parametrize("end", [-1, -2])
def test_a_gif_without_its_end_is_read(tmp_path, end):
    data = saved(PICTURE.quantize(), "GIF")
    assert (read(tmp_path, data[:end]) == read(tmp_path, data)).all()


def test_an_animation_without_its_end_is_read(tmp_path):
    data = saved(PICTURE.quantize(), "GIF", save_all=True, append_images=[PICTURE.rotate(90).quantize()])
    assert (read(tmp_path, data[: len(data) * 2 // 3]) == read(tmp_path, data)).all()


@pytest.mark.parametrize("kind", ["BMP", "TGA"])
def test_a_wrong_size_in_the_header_does_no_harm(tmp_path, kind):
    data = bytearray(saved(PICTURE, kind))
    if kind == "BMP":
        data[2:6] = bytes(4)
    assert (read(tmp_path, bytes(data)) == np.asarray(PICTURE)).all()


def photoshop(layers: int, alpha: int) -> bytes:
    """Return a PSD file of 24x20 with red, green, blue and a fourth channel, and a count of layers."""
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 4, 20, 24, 8, 3)
    sections = struct.pack(">2I", 0, 0)
    if layers:
        info = struct.pack(">h", layers).ljust(40, b"\0")
        sections += struct.pack(">2I", 4 + len(info), len(info)) + info
    else:
        sections += bytes(4)
    planes = (np.full((20, 24), value, np.uint8).tobytes() for value in (200, 100, 50, alpha))
    return header + sections + bytes(2) + b"".join(planes)


@pytest.mark.parametrize(("layers", "shown"), [(0, [200, 100, 50]), (1, [200, 100, 50]), (-1, [255, 255, 255])])
def test_a_saved_selection_in_a_photoshop_file_is_no_transparency(tmp_path, layers, shown):
    """A negative count of layers says that the fourth channel is the opacity (Photoshop File Formats)."""
    (tmp_path / "a.psd").write_bytes(photoshop(layers, alpha=0))
    assert (laid_on_white(tmp_path / "a.psd") == shown).all()


def test_an_image_that_is_open_already_is_treated_alike(tmp_path):
    data = saved(PICTURE, "JPEG")
    (tmp_path / "a.jpg").write_bytes(data[:-2])
    with Image.open(tmp_path / "a.jpg") as image:
        assert (pixels(load_picture(image)) == read(tmp_path, data)).all()
