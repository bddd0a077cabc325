"""A result's edges are made crisp at its end, and what is flat or not painted stays."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

import nst.sharpness
from helpers.runs import CONTENT, STYLE, paint
from nst import Style, StyleSettings, unrounded
from nst.sharpness import LEAST_CONTRAST, RADIUS, sharpen

SETTINGS = StyleSettings(
    size=64, steps=2, scales=1, sketch=False, match_palette=False, sharpness=1.0, precision="float32", device="cpu"
)


def step_edge(height: float, width: int = 64) -> torch.Tensor:
    picture = torch.full((1, 3, 48, width), 0.5)
    picture[..., width // 2 :] += height
    return picture


def squares(low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    """A picture of squares of 6 px in random colours."""
    colours = torch.rand(1, 3, 12, 15, generator=torch.Generator().manual_seed(0))
    return low + (high - low) * colours.repeat_interleave(6, 2).repeat_interleave(6, 3)


def expected(picture: torch.Tensor, sharpness: float) -> np.ndarray:
    """The formula, by SciPy and in float64."""
    pixels = picture[0].double().numpy()
    light = 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]
    blur = {"mode": "mirror", "truncate": 4.0}
    details = light - gaussian_filter(light, RADIUS, **blur)
    contrast = gaussian_filter(details**2, 2 * RADIUS, **blur)
    return np.clip(pixels + sharpness * details * contrast / (contrast + LEAST_CONTRAST**2), 0, 1)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_formula_agrees_with_scipy(sharpness):
    picture = squares()
    assert np.abs(sharpen(picture, sharpness)[0].numpy() - expected(picture, sharpness)).max() < 5e-3


def test_no_sharpness_returns_the_picture_itself():
    picture = step_edge(0.2)
    assert sharpen(picture, 0.0) is picture


def test_an_edge_becomes_steeper_and_the_areas_beside_it_stay():
    picture = step_edge(0.3)
    crisp = sharpen(picture, 1.0)
    slope = (crisp[..., 32] - crisp[..., 31]).mean()
    assert slope > 1.2 * 0.3
    assert torch.allclose(crisp[..., :16], picture[..., :16], atol=1e-6)
    assert torch.allclose(crisp.mean(), picture.mean(), atol=1e-3)


def test_weak_noise_in_a_flat_area_hardly_grows():
    noisy = 0.5 + 0.004 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)).expand(1, 3, 64, 64)
    assert sharpen(noisy, 1.0).std() < 1.05 * noisy.std()


def test_the_colours_stay_and_only_the_luminance_changes():
    picture = squares(0.3, 0.7)
    change = sharpen(picture, 1.0) - picture
    assert change.abs().max() > 0.01
    assert change.std(1).max() < 1e-6


def test_a_large_picture_is_sharpened_at_a_quarter_of_its_size_and_looks_alike(monkeypatch):
    picture = squares().repeat_interleave(24, 2).repeat_interleave(24, 3)
    exact = sharpen(picture, 1.0)
    monkeypatch.setattr(nst.sharpness, "LARGE_PICTURE", 1024 * 1024)
    assert (sharpen(picture, 1.0) - exact).abs().mean() < 0.1 * (exact - picture).abs().mean()


@pytest.mark.parametrize("size", [(3, 900), (1, 5), (64, 2)])
def test_narrow_pictures_can_be_sharpened(size):
    assert sharpen(torch.rand(1, 3, *size), 1.0).shape == (1, 3, *size)


def test_a_run_ends_sharp_and_its_state_keeps_the_canvas():
    sharp, plain = paint(SETTINGS), paint(StyleSettings(**{**vars(SETTINGS), "sharpness": 0.0}))
    canvas = torch.from_numpy(plain.state.arrays["pixels"])
    assert np.array_equal(sharp.state.arrays["pixels"], plain.state.arrays["pixels"])
    assert np.array_equal(plain.state.pictures["finished"], plain.state.arrays["pixels"])
    assert np.allclose(unrounded(sharp), sharpen(canvas, 1.0)[0].permute(1, 2, 0), atol=1e-6)


def test_what_no_mask_covers_is_not_sharpened():
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :24] = 255
    sharp = paint(SETTINGS, style=[Style(STYLE, mask=Image.fromarray(mask))])
    photo = np.asarray(CONTENT.resize(sharp.image.size, Image.Resampling.LANCZOS))
    assert np.array_equal(np.asarray(sharp.image)[:, 32:], photo[:, 32:])


def test_runs_that_keep_the_photos_colours_are_sharpened_too():
    settings = StyleSettings(**{**vars(SETTINGS), "preserve_colours": True, "match_palette": True})
    end = paint(settings)
    assert not np.array_equal(end.state.pictures["finished"], end.state.arrays["pixels"])
