"""Pictures with a colour profile are converted to sRGB."""

import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from helpers.picture_files import (
    ADOBE,
    ADOBE_TO_XYZ,
    BLACK_TO_WHITE,
    ICCP,
    LINEAR_GREY,
    SIX_COLOURS,
    SRGB_TO_XYZ,
    SWAPPED,
    chunk,
    pixels,
    png,
    rgb_profile,
    save,
    srgb_encoded,
)
from nst.io.reading import load_picture


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_adobe_rgb_is_converted_to_srgb(tmp_path, suffix):
    """As in the textbook: gamma, primaries to XYZ, XYZ to sRGB, and the curve of sRGB."""
    colours = np.array(
        [[[200, 100, 90], [90, 160, 100], [80, 70, 190]], [[60, 200, 90], [128, 128, 128], [250, 240, 5]]]
    )
    picture = Image.fromarray(colours.astype(np.uint8))
    result = pixels(load_picture(save(tmp_path / f"a.{suffix}", picture, icc_profile=ADOBE)))
    linear = (colours / 255) ** (563 / 256)
    expected = srgb_encoded(linear @ ADOBE_TO_XYZ.T @ np.linalg.inv(SRGB_TO_XYZ).T)
    assert abs(expected - colours).max() > 20  # the profile matters
    assert abs(result - expected).max() <= 2


def test_a_profile_with_swapped_primaries_swaps_channels_and_keeps_alpha(tmp_path):
    colours = np.array([[[200, 100, 30, 255], [200, 100, 30, 0]]], np.uint8)
    result = pixels(load_picture(save(tmp_path / "a.png", Image.fromarray(colours), icc_profile=SWAPPED)))
    assert abs(result[0, 0] - [30, 100, 200]).max() <= 6  # the curve of sRGB is not exactly gamma 2.2
    assert (result[0, 1] == 255).all()


@pytest.mark.parametrize("bits, alpha", [(8, False), (8, True), (16, False)])
def test_a_grey_profile_is_converted_and_transparency_stays(tmp_path, bits, alpha):
    """The profile says linear light, so that the curve of sRGB is applied."""
    values = BLACK_TO_WHITE.astype(np.uint16) * 257 if bits == 16 else BLACK_TO_WHITE
    opacity = np.array([[255, 255, 255, 255, 0]], np.uint8)
    layers = [values, opacity] if alpha else [values]
    path = tmp_path / "a.png"
    path.write_bytes(png(np.stack(layers, 2), chunk(b"iCCP", ICCP + zlib.compress(LINEAR_GREY))))
    result = pixels(load_picture(path))
    expected = srgb_encoded(BLACK_TO_WHITE / 255)
    if alpha:
        expected[0, -1] = 255
    assert abs(result - expected[..., None]).max() <= 2


def test_a_grey_picture_with_an_rgb_profile_is_converted(tmp_path):
    path = save(tmp_path / "a.tif", Image.fromarray(BLACK_TO_WHITE), icc_profile=rgb_profile(SRGB_TO_XYZ, 1.0))
    assert abs(pixels(load_picture(path)) - srgb_encoded(BLACK_TO_WHITE / 255)[..., None]).max() <= 2


def test_an_srgb_profile_changes_nothing(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    result = pixels(load_picture(save(tmp_path / "a.png", Image.fromarray(SIX_COLOURS), icc_profile=profile)))
    assert abs(result - SIX_COLOURS).max() <= 1


CMYK_HEADER = LINEAR_GREY[:16] + b"CMYK" + LINEAR_GREY[20:]


@pytest.mark.parametrize("profile", [b"no profile at all", ADOBE[:150], LINEAR_GREY, CMYK_HEADER])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_profile_that_is_broken_or_of_another_kind_is_ignored(tmp_path, profile, mode):
    """The colours stay, and transparent parts are still laid on white."""
    picture = Image.fromarray(SIX_COLOURS).convert(mode)
    expected = SIX_COLOURS.copy()
    if mode == "RGBA":
        picture.putpixel((1, 0), (0, 255, 0, 0))
        expected[0, 1] = 255
    path = save(tmp_path / "a.png", picture, icc_profile=profile)
    assert (pixels(load_picture(path)) == expected).all()


def test_a_cmyk_picture_with_an_rgb_profile_keeps_its_colours(tmp_path):
    array = np.full((16, 16, 4), (0, 200, 100, 0), np.uint8)
    picture = Image.fromarray(array, "CMYK")
    with_profile = load_picture(save(tmp_path / "a.jpg", picture, quality=100, icc_profile=ADOBE))
    assert (pixels(with_profile) == pixels(load_picture(save(tmp_path / "b.jpg", picture, quality=100)))).all()
