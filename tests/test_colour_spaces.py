"""Pictures whose file describes their colours by numbers are converted to sRGB: PNG's cICP, gAMA, cHRM, AVIF's nclx."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from skimage import color

from helpers.picture_files import (
    ICCP,
    P3,
    SIX_COLOURS,
    SRGB_TO_XYZ,
    SWAPPED,
    avif,
    chrm,
    chunk,
    cicp,
    gama,
    grey,
    pixels,
    png,
    rgb_profile,
)
from nst.io.reading import load_picture

SHADES = np.arange(0, 256, 5, dtype=np.uint8)[None, :, None].repeat(3, 2)
LINEAR = rgb_profile(SRGB_TO_XYZ, 1.0)


def read(tmp_path, data: bytes) -> np.ndarray:
    (tmp_path / "a").write_bytes(data)
    return pixels(load_picture(tmp_path / "a"))


def encoded(light: np.ndarray) -> np.ndarray:
    """Return sRGB values in [0, 255] of light of sRGB's primaries, worked out by scikit-image through XYZ."""
    return 255 * color.xyz2rgb(np.clip(light, 0, 1) @ color.colorconv.xyz_from_rgb.T)


def pq(cd: np.ndarray) -> np.ndarray:
    """Return PQ's values of light in cd/m² (SMPTE ST 2084, the inverse of what the reader computes)."""
    powers = (cd / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * powers) / (1 + 18.6875 * powers)) ** 78.84375


def to_bytes(values: np.ndarray) -> np.ndarray:
    return (255 * values.clip(0, 1)).round().astype(np.uint8)


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 0.3])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gamma_is_used(tmp_path, gamma, channels):
    expected = encoded((SHADES / 255.0) ** (1 / gamma))
    assert abs(expected - SHADES).max() > 15
    assert abs(read(tmp_path, png(SHADES[..., :channels], gama(gamma))) - expected).max() <= 1


def test_a_gamma_of_16_bits_is_used(tmp_path):
    result = read(tmp_path, png(SHADES.astype(np.uint16) * 257, gama(1.0)))
    assert abs(result - encoded(SHADES / 255.0)).max() <= 1


@pytest.mark.parametrize("gamma", [0.45455, 0.45])
def test_a_gamma_of_about_2_2_is_srgb(tmp_path, gamma):
    assert (read(tmp_path, png(SIX_COLOURS, gama(gamma))) == SIX_COLOURS).all()


def test_chromaticities_are_used(tmp_path):
    """Colours within sRGB, whose values in Display P3 are found by scikit-image's sRGB and the primaries' matrix."""
    colours = np.array([[[200, 100, 90], [90, 160, 100], [80, 70, 190], [128, 128, 128]]])
    to_p3 = np.linalg.inv([[0.8224620, 0.1775380, 0], [0.0331942, 0.9668058, 0], [0.0170826, 0.0723974, 0.9105199]])
    linear = (colours / 255.0) ** 2.2
    stored = to_bytes((linear @ np.linalg.inv(to_p3).T) ** (1 / 2.2))
    expected = encoded(linear)
    assert abs(stored - expected).max() > 10
    assert abs(read(tmp_path, png(stored, gama(1 / 2.2), chrm(*P3))) - expected).max() <= 2


def test_display_p3_and_bt_2020_by_code_points(tmp_path):
    """With the matrices of the CSS Color specification (level 4)."""
    colours = np.array([[[200, 100, 90], [90, 160, 100], [80, 70, 190], [128, 128, 128]]])
    linear = color.colorconv.rgb2xyz(colours / 255.0) @ np.linalg.inv(color.colorconv.xyz_from_rgb).T
    from_srgb = {
        12: [[0.8224620, 0.1775380, 0], [0.0331942, 0.9668058, 0], [0.0170826, 0.0723974, 0.9105199]],
        9: [[0.6274039, 0.3292830, 0.0433131], [0.0690973, 0.9195404, 0.0113623], [0.0163914, 0.0880133, 0.8955953]],
    }
    for primaries, matrix in from_srgb.items():
        stored = to_bytes(encoded(linear @ np.array(matrix).T) / 255)
        assert abs(stored - colours).max() > 5
        assert abs(read(tmp_path, png(stored, cicp(primaries, 13))) - colours).max() <= 3


def test_pq_has_its_reference_white_as_white(tmp_path):
    """203 cd/m² is white (ITU-R BT.2408); 8 bits of PQ are coarse."""
    light = (SHADES / 255.0) ** 2.2
    result = read(tmp_path, png(to_bytes(pq(203 * light)), cicp(1, 16)))
    assert abs(result - encoded(light)).mean() < 2
    assert (read(tmp_path, png(to_bytes(pq(np.full((4, 4, 3), 1000.0))), cicp(1, 16))) == 255).all()


def test_hlg_has_three_quarters_as_white(tmp_path):
    """75 % of HLG is 203 cd/m² on a screen of 1,000 cd/m² (ITU-R BT.2408, table 1), and 50 % is 50.6."""
    shades = to_bytes(np.array([0.0, 0.5, 0.75, 1.0]))[None, :, None].repeat(3, 2)
    expected = encoded(np.array([0, 50.6 / 203, 1, 1])[None, :, None].repeat(3, 2))
    assert abs(read(tmp_path, png(shades, cicp(1, 18))) - expected).max() <= 2


def test_linear_light_by_a_code_point(tmp_path):
    assert abs(read(tmp_path, png(SHADES, cicp(1, 8))) - encoded(SHADES / 255.0)).max() <= 1


SWAPPED_CHUNK, LINEAR_CHUNK = (chunk(b"iCCP", ICCP + zlib.compress(profile)) for profile in (SWAPPED, LINEAR))
SRGB_CHUNK = chunk(b"sRGB", b"\0")


@pytest.mark.parametrize(
    ("chunks", "winner"),
    [
        ((cicp(1, 8), SWAPPED_CHUNK, SRGB_CHUNK, gama(0.3)), "linear"),
        ((gama(0.3), SRGB_CHUNK, LINEAR_CHUNK), "linear"),
        ((gama(1.0), SRGB_CHUNK), "srgb"),
        ((gama(1.0), gama(1 / 2.2)), "linear"),  # the first counts
        ((cicp(1, 8), cicp(1, 13)), "linear"),
        ((chunk(b"iCCP", ICCP + zlib.compress(b"no profile" * 20)), gama(1.0)), "linear"),
        ((cicp(1, 13), LINEAR_CHUNK), "srgb"),
        ((gama(1.0), chrm(*P3[:2], 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)), "linear"),
        ((chrm(*P3),), "srgb"),  # without a gamma, they say nothing: browsers ignore them
        ((chrm(*[0] * 8), gama(1.0)), "srgb"),
        ((gama(0),), "srgb"),
        ((cicp(9, 8, matrix=9),), "srgb"),  # not allowed in PNG
        ((cicp(9, 8, full_range=0),), "srgb"),
        ((cicp(2, 2),), "srgb"),
        ((cicp(99, 99),), "srgb"),
    ],
)
def test_the_order_of_the_png_specification_decides(tmp_path, chunks, winner):
    expected = {"linear": encoded(SIX_COLOURS / 255.0), "srgb": SIX_COLOURS}[winner]
    assert abs(read(tmp_path, png(SIX_COLOURS, *chunks)) - expected).max() <= 2


def test_colours_after_the_pixels_do_not_count(tmp_path):
    data = png(SIX_COLOURS)
    assert (read(tmp_path, data[:-12] + gama(1.0) + data[-12:]) == SIX_COLOURS).all()


@pytest.mark.parametrize("transfer", [1, 2, 6, 13])
def test_an_avif_file_with_a_usual_curve_is_srgb(tmp_path, transfer):
    colours = np.kron(SIX_COLOURS, np.ones((32, 32, 1), np.uint8))
    assert abs(read(tmp_path, avif(colours, 1, transfer)) - colours).max() <= 2


def test_an_avif_file_is_converted_from_its_code_points(tmp_path):
    shades = np.kron(SHADES, np.ones((32, 32, 1), np.uint8))
    assert abs(read(tmp_path, avif(shades, 1, 8)) - encoded(shades / 255.0)).mean() < 2
    colours = np.kron(SIX_COLOURS, np.ones((32, 32, 1), np.uint8))
    wide = read(tmp_path, avif(colours, 12, 13))
    assert abs(wide[40, 16] - [0, 203, 73]).max() <= 30 and abs(wide - colours).max() > 10


def test_a_profile_in_an_avif_file_comes_before_its_code_points(tmp_path):
    buffer = io.BytesIO()
    colours = np.kron(SIX_COLOURS, np.ones((32, 32, 1), np.uint8))
    Image.fromarray(colours).save(buffer, "AVIF", quality=100, subsampling="4:4:4", icc_profile=LINEAR)
    assert abs(read(tmp_path, buffer.getvalue()) - encoded(colours / 255.0)).mean() < 3


def test_an_image_that_is_open_already_keeps_its_gamma(tmp_path):
    (tmp_path / "a.png").write_bytes(png(SHADES, gama(1.0)))
    with Image.open(tmp_path / "a.png") as image:
        assert abs(pixels(load_picture(image)) - encoded(SHADES / 255.0)).max() <= 1


def test_grey_stays_grey_in_a_wide_space(tmp_path):
    result = read(tmp_path, png(SHADES, cicp(9, 13)))
    assert abs(result - grey(SHADES[..., 0])).max() <= 1
