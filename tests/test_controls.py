"""Settings that promise something one can see: judged by scikit-image's CIELAB and by patches, not by the losses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2gray, rgb2lab
from skimage.filters import laplace
from skimage.transform import downscale_local_mean

from helpers.pictures import make_picture
from nst.io.colour import grey, match_covariance, match_luminance, recolour
from nst.settings import StyleSettings
from nst.stylization import stylize


def paint(content: Image.Image, style: Image.Image, settings: StyleSettings) -> np.ndarray:
    *_, last = stylize(content, style, settings, preview_every=None)
    return np.asarray(last.image)


@pytest.mark.parametrize("init", ["content", "style", "noise"])
def test_preserved_colours_are_the_photos(random_checkpoint, init):
    """The mean distance in CIELAB's a and b is under a third of that without; the luminance is painted all the same."""
    photo, style = make_picture(64, 64, seed=1), make_picture(80, 60, seed=2)
    settings = StyleSettings(size=64, steps=12, scales=1, init=init, backbone=str(random_checkpoint), device="cpu")
    before = rgb2lab(np.asarray(photo))
    plain, kept = (
        np.abs(rgb2lab(paint(photo, style, replace(settings, preserve_colours=keep))) - before).mean((0, 1))
        for keep in (False, True)
    )
    assert kept[1:].sum() < plain[1:].sum() / 3
    assert kept[0] > 5


def test_more_outlines_are_more_of_the_photos_outlines(random_checkpoint):
    """By scikit-image, in pictures of an eighth of the size: monotonic, and far from all at the start."""
    photo, style = make_picture(96, 96, seed=1), make_picture(80, 60, seed=2)
    settings = StyleSettings(size=96, steps=30, scales=1, backbone=str(random_checkpoint), device="cpu")

    def outlines(picture: np.ndarray) -> np.ndarray:
        return laplace(downscale_local_mean(rgb2gray(picture), (8, 8))).ravel()

    agreement = [
        np.corrcoef(
            outlines(np.asarray(photo)), outlines(paint(photo, style, replace(settings, laplacian_weight=weight)))
        )[0, 1]
        for weight in (0, 15, 150)
    ]
    assert agreement[0] < agreement[1] < agreement[2] and agreement[2] > agreement[0] + 0.1, agreement


def test_grey_is_that_of_pillow():
    pixels = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    array = (pixels[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    by_pillow = np.asarray(Image.fromarray(array).convert("L")) / 255
    for channel in grey(pixels)[0]:
        np.testing.assert_allclose(channel.numpy(), by_pillow, atol=1.5 / 255)


def test_luminance_and_colours_come_from_where_they_should():
    one, other = (torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed)) * 0.2 + 0.4 for seed in (1, 2))
    mixed = recolour(one, other)
    torch.testing.assert_close(grey(mixed), grey(one))
    torch.testing.assert_close(mixed - grey(mixed), other - grey(other))
    matched = match_luminance(one * 0.3, other)
    assert (matched == matched[:, :1]).all()
    assert matched.mean().item() == pytest.approx(grey(other).mean().item(), abs=1e-5)
    assert matched.std().item() == pytest.approx(grey(other).std().item(), rel=1e-2)
    assert match_luminance(torch.full((1, 3, 4, 4), 0.5), other).isfinite().all()


def test_covariance_and_mean_are_taken_over():
    """As NumPy works them out, where no value is clipped; and nothing moves where they are the same already."""
    random = np.random.default_rng(0)
    one, other = (
        torch.from_numpy(
            0.5 + 0.04 * np.einsum("ij,jhw->ihw", random.normal(size=(3, 3)), random.normal(size=(3, 40, 30)))
        )[None]
        for _ in range(2)
    )
    found = match_covariance(one, other)
    assert found.shape == one.shape and found.min() > 0 and found.max() < 1
    rows, expected = (x[0].flatten(1).numpy() for x in (found, other))
    np.testing.assert_allclose(np.cov(rows), np.cov(expected), rtol=0.02, atol=3e-5)
    np.testing.assert_allclose(rows.mean(1), expected.mean(1), atol=1e-9)
    torch.testing.assert_close(match_covariance(one, one), one)
    assert match_covariance(torch.full((1, 3, 4, 4), 0.5), one.float()).isfinite().all()


def test_a_start_in_the_paintings_colours(random_checkpoint):
    """Nothing has been painted after one tiny step: the picture is the photo, in the painting's mean colour."""
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
    """Random 7x7 patches of the luminance, without their means: (count, 49)."""
    windows = np.lib.stride_tricks.sliding_window_view(picture.mean(2) / 255, (7, 7)).reshape(-1, 49)
    chosen = windows[np.random.default_rng(0).integers(0, len(windows), count)]
    return chosen - chosen.mean(1, keepdims=True)


def patch_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Sliced Wasserstein distance of the pictures' patches."""
    directions = np.random.default_rng(1).normal(size=(49, 64))
    return float(np.abs(np.sort(patches(a) @ directions, 0) - np.sort(patches(b) @ directions, 0)).mean())


@pytest.mark.slow
def test_the_painting_scaled_gives_brush_strokes_of_that_scale():
    """Of three results, the one painted at a scale has the patches nearest to the painting's at that scale."""
    rows, columns = np.mgrid[0:192, 0:192]
    waves = 0.5 + 0.45 * np.sin((rows + 12 * np.sin(columns / 20)) / 2.2)
    style = Image.fromarray((np.stack([waves, 0.6 * waves + 0.2, 1 - waves], 2) * 255).astype(np.uint8))
    photo = make_picture(96, 96, seed=1)
    settings = StyleSettings(size=96, steps=150, scales=2, content_weight=0.1, device="cpu",
                             precision="float32")
    scales = (0.5, 1, 2)
    painted = [paint(photo, style, replace(settings, style_scale=scale)) for scale in scales]
    for wanted, scale in enumerate(scales):
        scaled = np.asarray(style.resize((round(96 * scale),) * 2, Image.Resampling.LANCZOS))
        distances = [patch_distance(one, scaled) for one in painted]
        assert int(np.argmin(distances)) == wanted, distances
