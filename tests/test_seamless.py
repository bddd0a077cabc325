"""Seamless pictures: across their edges they change no more than inside, and the photo is periodic before."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.refusals import refusal
from nst import StyleSettings, enlarged, stylize, unrounded
from nst.io.tensors import wrap_border
from nst.seamless import make_periodic


@pytest.fixture
def pair() -> tuple[Image.Image, Image.Image]:
    """A photo whose sides differ, and a painting of stripes."""
    rows, columns = np.mgrid[:96, :128]
    slope = np.stack([rows * 2 + columns / 3, 255 - rows - columns, 40 + columns * 1.6], 2).clip(0, 255)
    stripes = np.stack([255 * ((rows + columns) // 6 % 2), columns * 2, 255 * (rows // 9 % 2)], 2).clip(0, 255)
    return tuple(Image.fromarray(array.astype(np.uint8)) for array in (slope, stripes))


def seams_and_beside(picture: Image.Image) -> tuple[float, float]:
    """Return the mean change from pixel to pixel across both seams, and beside them.

    A seam would be one line that differs from its neighbours. Coefficients of the canvas's half size make every other
    change larger, and the seam is one of these.
    """
    values = np.float32(picture)
    jumps = [abs(values - np.roll(values, 1, axis)).mean((1 - axis, 2)) for axis in (0, 1)]
    return float(np.mean([x[0] for x in jumps])), float(
        np.mean([x[[2, 4, 6, 8, -2, -4, -6, -8]].mean() for x in jumps])
    )


def paint(pair, settings, **options):
    *_, last = stylize(*pair, settings, preview_every=None, **options)
    return last


@pytest.fixture
def settings(random_checkpoint) -> StyleSettings:
    return StyleSettings(
        size=128, steps=6, seamless=True, backbone=str(random_checkpoint), device="cpu", precision="float32"
    )


def test_the_periodic_part_has_the_laplacian_of_the_picture_and_no_jump():
    """That is the definition of the decomposition, computed here with differences instead of frequencies."""
    pixels = np.random.default_rng(0).random((40, 56, 3)).cumsum(0).cumsum(1) / 500
    periodic = make_periodic(pixels)

    def laplacian(x, mode):
        x = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode=mode)
        return x[2:, 1:-1] + x[:-2, 1:-1] + x[1:-1, 2:] + x[1:-1, :-2] - 4 * x[1:-1, 1:-1]

    np.testing.assert_allclose(laplacian(periodic, "wrap"), laplacian(pixels, "edge"), atol=1e-9)
    np.testing.assert_allclose(periodic.mean((0, 1)), pixels.mean((0, 1)))
    assert abs(pixels[0] - pixels[-1]).mean() > 10 * abs(periodic[0] - periodic[-1]).mean()


def test_the_border_repeats_the_opposite_sides_and_what_is_so_already_stays():
    inside = np.random.default_rng(0).random((1, 3, 24, 32), np.float32)
    expected = np.pad(inside, ((0, 0), (0, 0), (3, 3), (4, 4)), mode="wrap")
    assert np.array_equal(wrap_border(torch.from_numpy(expected.copy())).numpy(), expected)
    wrapped = wrap_border(torch.from_numpy(np.random.default_rng(1).random((1, 3, 30, 40), np.float32))).numpy()
    assert np.array_equal(wrapped, np.pad(wrapped[..., 3:-3, 4:-4], ((0, 0), (0, 0), (3, 3), (4, 4)), mode="wrap"))


def test_a_slope_has_no_jump_at_the_seam_or_beside_it():
    """A copy of one side would have a jump of 32 steps."""
    slope = torch.arange(40.0).expand(1, 3, 30, 40).clone()
    row = wrap_border(slope)[0, 0, 15]
    assert (row[1:] - row[:-1]).abs().max() < 5.1  # 32 steps back on the 8 px of the strip, and its own slope


def test_a_seamless_picture_changes_no_more_across_its_seams_than_inside(pair, settings):
    step = paint(pair, settings)
    assert step.image.size == (128, 96)
    seam, beside = seams_and_beside(step.image)
    assert seam < 1.3 * beside
    seam, beside = seams_and_beside(paint(pair, replace(settings, seamless=False)).image)
    assert seam > 3 * beside
    assert abs(unrounded(step) * 255 - np.asarray(step.image)).max() < 0.51


def test_a_seamless_picture_can_be_stopped_continued_and_enlarged(pair, settings):
    whole, steps = paint(pair, settings), iter(range(1, 7))
    stopped = paint(pair, settings, should_stop=lambda: next(steps) == 4)
    assert np.array_equal(paint(pair, settings, resume=stopped.state).image, whole.image)
    larger = paint(pair, enlarged(settings, whole.state, pair[0].size), resume=whole.state)
    assert larger.image.size == (256, 192)
    seam, beside = seams_and_beside(larger.image)
    assert seam < 1.5 * beside


def test_the_sides_are_multiples_of_32_px_and_previews_have_them_too(pair, settings):
    photo = pair[0].resize((130, 70))
    sizes = {step.image.size for step in stylize(photo, pair[1], replace(settings, size=100, steps=2))}
    assert sizes == {(96, 64)}


def test_a_seamless_picture_that_is_too_large_with_its_border_is_refused(pair, settings):
    message = refusal(lambda: next(stylize(*pair, replace(settings, size=8192))))
    assert "at most 6553 px" in message
