"""TIFF files of every kind show their picture, or are refused in one line: never another picture."""

import re
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.picture_files import LINEAR_GREY, laid_on_white, pixels, srgb_encoded
from helpers.pictures import make_picture
from helpers.refusals import refusal
from helpers.tiff_files import TiffPage, tiff
from nst.io.reading import load_picture, load_with_opacity
from tools.corpus.tiffs import TYPES, make_page, page_variants, reference, sample_variants

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL")
MOST = 4  # of 255: the mean error of the picture, which JPEG and few bits change a little
VARIANTS = list(sample_variants())
PAGES = list(page_variants())
ARRANGEMENTS = sorted({re.split("-u[12]-", variant.name)[0] for variant in PAGES})


def find_wrong(variants, tmp_path) -> list[str]:
    """Return the names of the variants that are read as another picture."""
    wrong = []
    for variant in variants:
        path = tmp_path / variant.name
        path.write_bytes(variant.data)
        if variant.shown is None:
            assert "raw photo" in refusal(load_picture, path)
        elif not shows(path, variant.shown):
            wrong.append(variant.name)
    return wrong


def shows(path, expected: np.ndarray) -> bool:
    result = laid_on_white(path)
    return result.shape == expected.shape and abs(result - expected).mean() < MOST


@pytest.mark.parametrize("kind", [*TYPES, "bits", "ycbcr"])
def test_every_kind_of_samples_shows_its_picture(tmp_path, kind):
    """Over photometric, planes, alpha, compression and byte order."""
    variants = [variant for variant in VARIANTS if variant.name.startswith(kind)]
    assert len(variants) >= 10
    assert not find_wrong(variants, tmp_path)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_the_picture_is_found_among_thumbnails_masks_and_raw_data(tmp_path, arrangement):
    variants = [variant for variant in PAGES if re.match(f"{arrangement}-u[12]-", variant.name)]
    assert len(variants) == 6
    assert not find_wrong(variants, tmp_path)


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"bigtiff": True}, {"compression": "lzw", "predictor": True}])
def test_tiles_large_files_and_predictors(tmp_path, planarconfig, options):
    """Written by another program."""
    page, shown = make_page("u2", "rgb")
    samples = page.samples if planarconfig == "contig" else np.moveaxis(page.samples, 2, 0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, samples, photometric="rgb", planarconfig=planarconfig, **options)
    assert shows(path, shown)


@pytest.mark.parametrize("subifd", [False, True])
def test_a_big_file_with_a_thumbnail_shows_the_picture(tmp_path, subifd):
    page, shown = make_page("u1", "rgb")
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=True) as writer:
        writer.write(page.samples[::2, ::2], photometric="rgb", subfiletype=1, subifds=int(subifd))
        writer.write(page.samples, photometric="rgb", subfiletype=0)
    assert shows(tmp_path / "a.tif", shown)


def test_pages_of_different_shape_are_not_taken_for_thumbnails(tmp_path):
    page, shown = make_page("u1", "rgb")
    wide = TiffPage(np.zeros((100, 400, 3), np.uint8), "rgb")
    (tmp_path / "a.tif").write_bytes(tiff(page, wide))
    assert shows(tmp_path / "a.tif", shown)


def test_the_preview_of_a_raw_photo_may_be_a_jpeg(tmp_path):
    """As converters to DNG store it: subsampled, in tiles, a little smaller than the sensor."""
    shown = np.asarray(make_picture(320, 240))
    with tifffile.TiffWriter(tmp_path / "a.dng") as writer:
        writer.write(shown[::5, ::5], photometric="rgb", subfiletype=1, subifds=2)
        writer.write(np.zeros((244, 324), np.uint16), photometric="cfa", subfiletype=0, compression="zlib")
        luma = np.asarray(Image.fromarray(shown).convert("YCbCr"))
        writer.write(luma, photometric="ycbcr", compression="jpeg", subsampling=(2, 2), tile=(64, 64), subfiletype=1)
    assert shows(tmp_path / "a.dng", shown)


def test_a_subifd_is_turned_as_the_first_page_says(tmp_path):
    """DNG files state the orientation once."""
    page, shown = make_page("u1", "rgb")
    small = TiffPage(page.samples[::2, ::2], "rgb", tags=((254, 4, (1,)), (274, 3, (6,))), children=(page,))
    (tmp_path / "a.dng").write_bytes(tiff(small))
    assert shows(tmp_path / "a.dng", np.rot90(shown, -1))


@pytest.mark.parametrize("planar", [False, True])
def test_a_page_is_turned_as_it_says(tmp_path, planar):
    page, shown = make_page("u2", "rgb", planar=planar)
    page.tags = ((274, 3, (8,)),)
    (tmp_path / "a.tif").write_bytes(tiff(page))
    assert shows(tmp_path / "a.tif", np.rot90(shown))


def test_opacity_beside_cmyk_is_kept(tmp_path):
    page, _ = make_page("u1", "cmyk", "unassociated")
    (tmp_path / "a.tif").write_bytes(tiff(page))
    assert (np.asarray(load_with_opacity(tmp_path / "a.tif")[1]) == page.samples[..., -1]).all()


def test_a_profile_is_used_where_tifffile_decodes(tmp_path):
    page, _ = make_page("u2", "miniswhite")
    page.tags = ((34675, 1, tuple(LINEAR_GREY)),)
    (tmp_path / "a.tif").write_bytes(tiff(page))
    assert shows(tmp_path / "a.tif", srgb_encoded(reference("L") / 255))


def test_a_dark_picture_of_16_bits_stays_dark(tmp_path):
    samples = np.full((20, 20, 3), 3000, np.uint16)
    (tmp_path / "a.tif").write_bytes(tiff(TiffPage(samples, "rgb", planar=True)))
    assert abs(pixels(load_picture(tmp_path / "a.tif")) - 3000 / 257).max() <= 0.5


@pytest.mark.parametrize("top", [1.0001, 3.0])
def test_floating_point_above_white_is_clipped(tmp_path, top):
    """Highlights, and what filters add, must not make the picture black."""
    samples = np.linspace(0, top, 400, dtype=np.float32).reshape(20, 20, 1)
    (tmp_path / "a.tif").write_bytes(tiff(TiffPage(samples, "minisblack")))
    assert abs(pixels(load_picture(tmp_path / "a.tif")) - 255 * samples.clip(0, 1)).max() <= 0.51


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_integers_below_zero_are_refused(tmp_path, dtype):
    samples = np.linspace(-100, 100, 400).astype(dtype).reshape(20, 20, 1)
    (tmp_path / "a.tif").write_bytes(tiff(TiffPage(samples, "minisblack")))
    assert "below zero" in refusal(load_picture, tmp_path / "a.tif")


def test_an_unusual_kind_is_not_called_damaged_or_no_picture(tmp_path):
    page, _ = make_page("u2", "rgb", planar=True)
    data = bytearray(tiff(page))
    place = data.index(struct.pack("<HHIH", 259, 3, 1, 1)) + 8  # the value of the tag for the compression
    data[place : place + 2] = struct.pack("<H", 34712)  # JPEG 2000
    (tmp_path / "a.tif").write_bytes(data)
    message = refusal(load_picture, tmp_path / "a.tif")
    assert "unusual kind of TIFF" in message and "RGB" in message


def test_a_compression_that_pillow_lacks_is_not_called_damage(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", reference().astype(np.uint8), photometric="rgb", compression="webp")
    assert "unusual kind of TIFF" in refusal(load_picture, tmp_path / "a.tif")


def test_a_missing_strip_is_refused(tmp_path):
    page, _ = make_page("u2", "rgb", planar=True)
    data = tiff(page)
    (tmp_path / "a.tif").write_bytes(data[: len(data) // 3])
    assert "damaged" in refusal(load_picture, tmp_path / "a.tif")
    start = data.index(struct.pack("<HHI", 279, 4, 9)) + 8
    place = struct.unpack("<I", data[start : start + 4])[0]
    (tmp_path / "b.tif").write_bytes(data[:place] + bytes(4) + data[place + 4 :])  # the first strip has no bytes
    assert "damaged" in refusal(load_picture, tmp_path / "b.tif")


def test_strips_that_claim_much_memory_are_refused(tmp_path):
    page = TiffPage(np.zeros((4, 4, 1), np.float64), "minisblack", tags=((322, 4, (40_000,)), (323, 4, (40_000,))))
    (tmp_path / "a.tif").write_bytes(tiff(page))
    assert "too large" in refusal(load_picture, tmp_path / "a.tif")


def test_an_image_that_is_open_already_is_read_too(tmp_path):
    page, shown = make_page("u1", "rgb")
    (tmp_path / "a.tif").write_bytes(tiff(page))
    with Image.open(tmp_path / "a.tif") as image:
        assert abs(pixels(load_picture(image)) - shown).mean() < MOST
