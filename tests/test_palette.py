"""A picture gets a painting's palette, colours are carried to a larger size, and colour noise goes."""

import numpy as np
import pytest
import torch

from nst import palette
from nst.palette import ColourMap, sample_palette, smooth_chroma, transfer_colours


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_rare_colours_count_more_than_their_share():
    painting = torch.ones(1, 3, 100, 100)
    painting[..., :1, :] = torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1)
    palette = sample_palette(painting, exponent=0.7)
    share = (palette[1] < 0.5).float().mean().item()
    assert share == pytest.approx(0.01**0.7 / (0.01**0.7 + 0.99**0.7), abs=1e-3)
    assert torch.equal(palette, sample_palette(painting, exponent=0.7))


def test_a_mapped_picture_has_the_distribution_of_the_palette():
    photo, painting = picture(60, 80, 1), picture(60, 80, 2)
    painting = torch.stack([painting[:, 0] ** 3, 0.5 * painting[:, 0] + 0.3 * painting[:, 1], painting[:, 2]], 1)
    palette = painting[0].flatten(1)
    mapped = ColourMap(photo, palette)(photo)[0].flatten(1).numpy()
    for channel, expected in zip(mapped, palette.numpy(), strict=True):
        shares = np.linspace(0.05, 0.95, 19)
        assert np.abs(np.quantile(channel, shares) - np.quantile(expected, shares)).max() < 0.06
    assert np.abs(np.cov(mapped) - np.cov(palette.numpy())).max() < 0.01


def test_a_picture_in_its_own_palette_stays_as_it_is():
    photo = picture(60, 80)
    assert (ColourMap(photo, photo[0].flatten(1))(photo) - photo).abs().mean() < 0.01


def test_a_grey_palette_gives_grey_and_one_colour_gives_that_colour():
    photo, grey = picture(40, 40, 1), picture(40, 40, 2)[:, :1].expand(1, 3, 40, 40)
    assert (ColourMap(photo, grey[0].flatten(1))(photo)).std(1).max() < 1e-3
    colour = torch.tensor([0.2, 0.5, 0.9]).view(3, 1).expand(3, 50)
    assert (ColourMap(photo, colour)(photo)[0].flatten(1) - colour[:, :1]).abs().max() < 1e-3


def test_a_flat_part_stays_flat():
    photo = picture(40, 40, 1)
    photo[..., :20] = 0.7
    mapped = ColourMap(photo, picture(40, 40, 2)[0].flatten(1))(photo)[..., :20]
    assert (mapped - mapped[..., :1, :1]).abs().max() < 1e-6


def test_one_affine_map_of_all_colours_is_found_and_used_at_the_larger_size():
    matrix = torch.tensor([[0.5, 0.1, 0.0], [0.0, 0.4, 0.2], [0.1, 0.0, 0.3]])
    shift = torch.tensor([0.1, 0.2, 0.3])

    def mapped(x):
        return torch.einsum("ij,bjhw->bihw", matrix, x) + shift.view(1, 3, 1, 1)

    source, large = picture(40, 50, 1), picture(80, 100, 2)
    found = transfer_colours(source, mapped(source), large)
    assert (found - mapped(large)).abs().max() < 0.02


def test_each_half_gets_its_own_map():
    source = picture(32, 64, 1)
    target = source.clone()
    target[..., 32:] = 1 - source[..., 32:]
    found = transfer_colours(source, target, source)
    assert (found - target)[..., :20].abs().mean() < 0.01
    assert (found - target)[..., -20:].abs().mean() < 0.01


def test_smoothing_keeps_the_luminance_and_takes_colour_noise_away():
    grey = torch.linspace(0.3, 0.7, 96).view(1, 1, 1, 96).expand(1, 3, 64, 96)
    noisy = grey + 0.1 * (picture(64, 96) - 0.5)
    smooth = smooth_chroma(noisy)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    assert ((smooth - noisy) * weights).sum(1).abs().max() < 2e-3
    spread = (noisy - noisy.mean(1, keepdim=True)).std(), (smooth - smooth.mean(1, keepdim=True)).std()
    assert spread[1] < spread[0] / 3


def test_smoothing_leaves_grey_and_flat_colours_as_they_are():
    grey = picture(40, 40)[:, :1].expand(1, 3, 40, 40)
    assert (smooth_chroma(grey) - grey).abs().max() < 2e-3
    flat = torch.tensor([0.8, 0.3, 0.1]).view(1, 3, 1, 1).expand(1, 3, 40, 40)
    assert (smooth_chroma(flat) - flat).abs().max() < 2e-3


def test_a_picture_narrower_than_the_filter_is_smoothed_too():
    assert smooth_chroma(picture(3, 900)).shape == (1, 3, 3, 900)


def test_a_large_picture_is_smoothed_and_mapped_like_a_small_one(monkeypatch):
    """It is filtered with the coefficients of a smaller picture, and mapped in parts."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 300), torch.linspace(0, 1, 400), indexing="ij")
    smooth = torch.stack([rows, columns, (rows + columns) / 2])[None]
    noisy = (smooth + 0.05 * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    noisy[..., 200:] = 1 - noisy[..., 200:]  # a sharp border
    colours = torch.rand(3, 500, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(palette, "CHROMA_RADIUS", 16)
    filtered, mapped = smooth_chroma(noisy), ColourMap(noisy, colours)(noisy)
    monkeypatch.setattr(palette, "LARGE_PICTURE", 50_000)
    torch.testing.assert_close(ColourMap(noisy, colours)(noisy), mapped, rtol=0, atol=1e-5)
    difference = (smooth_chroma(noisy) - filtered).abs()
    assert difference.mean() < 0.005 and difference.mean() < 0.2 * (noisy - filtered).abs().mean()
