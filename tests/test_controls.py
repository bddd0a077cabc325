"""Settings with a visible effect, measured by scikit-image's CIELAB and by patches, not by the losses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2gray, rgb2lab
from skimage.filters import laplace
from skimage.transform import downscale_local_mean

from helpers.pictures import make_picture, uniform
from nst.io.colour import grey, match_covariance, match_luminance, recolour
from nst.settings import StyleSettings
from nst.stylization import stylize


def paint(content: Image.Image, style: Image.Image, settings: StyleSettings) -> np.ndarray:
    *_, last = stylize(content, style, settings, preview_every=None)
    return np.asarray(last.image)


@pytest.mark.parametrize("init", ["content", "style", "noise"])
def test_preserved_colours_are_those_of_the_photo(random_checkpoint, init):
    """The mean change of CIELAB's a and b is under a third of that without the setting; the luminance is painted."""
    photo, style = make_picture(64, 64, seed=1), make_picture(80, 60, seed=2)
    settings = StyleSettings(size=64, steps=12, scales=1, init=init, backbone=str(random_checkpoint), device="cpu")
    before = rgb2lab(np.asarray(photo))
    plain, preserved = (
        np.abs(rgb2lab(paint(photo, style, replace(settings, preserve_colours=preserve))) - before).mean((0, 1))
        for preserve in (False, True)
    )
    assert preserved[1:].sum() < plain[1:].sum() / 3
    assert preserved[0] > 5


@pytest.mark.slow
def test_a_larger_laplacian_weight_keeps_more_of_the_photos_outlines(random_checkpoint):
    """scikit-image compares the outlines in pictures of an eighth of the size: the agreement rises with the weight."""
    photo, style = make_picture(96, 96, seed=1), make_picture(80, 60, seed=2)
    changes = {"size": 96, "steps": 30, "scales": 1, "backbone": str(random_checkpoint), "device": "cpu"}
    settings = StyleSettings.preset("covariance", **changes)

    def outlines(picture: np.ndarray) -> np.ndarray:
        return laplace(downscale_local_mean(rgb2gray(picture), (8, 8))).ravel()

    agreement = [
        np.corrcoef(
            outlines(np.asarray(photo)), outlines(paint(photo, style, replace(settings, laplacian_weight=weight)))
        )[0, 1]
        for weight in (0, 15, 150)
    ]
    assert agreement[0] < agreement[1] < agreement[2] and agreement[2] > agreement[0] + 0.1, agreement


def test_grey_equals_pillows():
    pixels = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    array = (pixels[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    by_pillow = np.asarray(Image.fromarray(array).convert("L")) / 255
    for channel in grey(pixels)[0]:
        np.testing.assert_allclose(channel.numpy(), by_pillow, atol=1.5 / 255)


def test_recolour_and_match_luminance_take_what_they_should_from_each_picture():
    first, second = (uniform(1, 3, 6, 8, seed=seed, low=0.4, high=0.6) for seed in (1, 2))
    mixed = recolour(first, second)
    torch.testing.assert_close(grey(mixed), grey(first))
    torch.testing.assert_close(mixed - grey(mixed), second - grey(second))
    matched = match_luminance(first * 0.3, second)
    assert (matched == matched[:, :1]).all()
    assert matched.mean().item() == pytest.approx(grey(second).mean().item(), abs=1e-5)
    assert matched.std().item() == pytest.approx(grey(second).std().item(), rel=1e-2)
    assert match_luminance(torch.full((1, 3, 4, 4), 0.5), second).isfinite().all()


def test_match_covariance_takes_over_the_covariance_and_the_mean():
    """NumPy measures both, where no value is clipped. A picture that already has them does not change."""
    random = np.random.default_rng(0)
    pixels, other = (
        torch.from_numpy(
            0.5 + 0.04 * np.einsum("ij,jhw->ihw", random.normal(size=(3, 3)), random.normal(size=(3, 40, 30)))
        )[None]
        for _ in range(2)
    )
    matched = match_covariance(pixels, other)
    assert matched.shape == pixels.shape and matched.min() > 0 and matched.max() < 1
    rows, expected = (x[0].flatten(1).numpy() for x in (matched, other))
    np.testing.assert_allclose(np.cov(rows), np.cov(expected), rtol=0.02, atol=3e-5)
    np.testing.assert_allclose(rows.mean(1), expected.mean(1), atol=1e-9)
    torch.testing.assert_close(match_covariance(pixels, pixels), pixels)
    assert match_covariance(torch.full((1, 3, 4, 4), 0.5), pixels.float()).isfinite().all()


def test_a_run_from_the_style_starts_in_the_paintings_colours(random_checkpoint):
    """One tiny step paints nothing: the picture is still the photo, with the painting's mean colour."""
    photo, style = make_picture(64, 64, seed=1), Image.new("RGB", (64, 64), (200, 90, 40))
    settings = StyleSettings(
        size=64,
        steps=1,
        scales=1,
        init="style",
        start_noise=0.0,
        learning_rate=1e-6,
        backbone=str(random_checkpoint),
        device="cpu",
    )
    assert np.abs(paint(photo, style, settings).mean((0, 1)) - (200, 90, 40)).max() < 1


def patches(picture: np.ndarray, count: int = 3000) -> np.ndarray:
    """Return random 7x7 patches of the luminance, minus their means: (count, 49)."""
    windows = np.lib.stride_tricks.sliding_window_view(picture.mean(2) / 255, (7, 7)).reshape(-1, 49)
    chosen = windows[np.random.default_rng(0).integers(0, len(windows), count)]
    return chosen - chosen.mean(1, keepdims=True)


def patch_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the sliced Wasserstein distance between the patches of two pictures."""
    directions = np.random.default_rng(1).normal(size=(49, 64))
    return float(np.abs(np.sort(patches(a) @ directions, 0) - np.sort(patches(b) @ directions, 0)).mean())


@pytest.mark.slow
def test_style_scale_sets_the_scale_of_the_brush_strokes():
    """For each scale, the picture painted at it has the nearest patches to those of the painting at that scale."""
    rows, columns = np.mgrid[0:192, 0:192]
    waves = 0.5 + 0.45 * np.sin((rows + 12 * np.sin(columns / 20)) / 2.2)
    style = Image.fromarray((np.stack([waves, 0.6 * waves + 0.2, 1 - waves], 2) * 255).astype(np.uint8))
    photo = make_picture(96, 96, seed=1)
    settings = StyleSettings(size=96, steps=150, scales=2, content_weight=0.1, device="cpu", precision="float32")
    scales = (0.5, 1, 2)
    painted = [paint(photo, style, replace(settings, style_scale=scale)) for scale in scales]
    for index, scale in enumerate(scales):
        scaled = np.asarray(style.resize((round(96 * scale),) * 2, Image.Resampling.LANCZOS))
        distances = [patch_distance(picture, scaled) for picture in painted]
        assert int(np.argmin(distances)) == index, distances
