"""The finish gives a result the paintings' palette, where they are painted."""

import numpy as np
import pytest
import torch
from PIL import Image

import nst.finish
from helpers.pictures import make_picture
from helpers.runs import CONTENT, STYLE, paint
from nst import Style, StyleSettings, unrounded
from nst.finish import Palette
from nst.io.tensors import to_tensor

SETTINGS = StyleSettings(size=64, steps=3, scales=1, sketch=False, sharpness=0.0, precision="float32", device="cpu")
CPU = torch.device("cpu")


def finish(pixels: torch.Tensor, *styles: Style) -> torch.Tensor:
    return nst.finish.finish(pixels, styles, SETTINGS, Palette(styles, CPU))


def test_a_grey_painting_gives_a_grey_result():
    grey = Style(make_picture(90, 70, seed=2).convert("L").convert("RGB"))
    assert finish(to_tensor(CONTENT), grey).std(1).max() < 2e-3


def test_the_quantiles_of_each_channel_become_those_of_the_painting():
    result, painting = finish(to_tensor(CONTENT), Style(STYLE)), to_tensor(STYLE)
    shares = np.linspace(0.05, 0.95, 19)
    for ours, theirs in zip(result[0], painting[0], strict=True):
        assert np.abs(np.quantile(ours, shares) - np.quantile(theirs, shares)).max() < 0.08


def test_paintings_share_the_palette_by_their_weights():
    black, white = Image.new("RGB", (32, 32)), Image.new("RGB", (32, 32), "white")
    result = finish(to_tensor(make_picture(64, 64, seed=4)), Style(black, 3.0), Style(white, 1.0))
    assert (result > 0.5).float().mean().item() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("painted", [slice(0, 32), slice(0, 1), slice(0, 0)], ids=["half", "a line", "nothing"])
def test_what_no_mask_covers_stays_as_it_is(painted):
    mask = np.zeros((64, 64), np.uint8)
    mask[:, painted] = 255
    photo = to_tensor(make_picture(64, 64, seed=4))
    result = finish(photo, Style(Image.new("RGB", (32, 32), (200, 30, 30)), mask=Image.fromarray(mask)))
    assert torch.equal(result[..., 33:], photo[..., 33:])
    inside = result[..., painted]
    assert (inside - torch.tensor([200, 30, 30]).view(1, 3, 1, 1) / 255).abs().max() < 0.02 if inside.numel() else True


def test_a_run_ends_with_the_finish_and_its_state_keeps_the_canvas():
    end, plain = paint(SETTINGS), paint(StyleSettings(**{**vars(SETTINGS), "match_palette": False}))
    assert np.array_equal(end.state.arrays["pixels"], plain.state.arrays["pixels"])
    expected = finish(torch.from_numpy(plain.state.arrays["pixels"]), Style(STYLE))
    assert np.allclose(unrounded(end), expected[0].permute(1, 2, 0), atol=1e-6)
    assert end.image.tobytes() != plain.image.tobytes()


@pytest.mark.parametrize("changes", [{"preserve_colours": True}, {"style_weight": 0.0}], ids=str)
def test_kept_colours_and_runs_without_a_style_have_no_finish(changes):
    end = paint(StyleSettings(**{**vars(SETTINGS), **changes}))
    assert np.array_equal(end.state.pictures["finished"], end.state.arrays["pixels"])
