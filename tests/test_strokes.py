"""A run with matched strokes, from its first stage to its finished picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.pictures import make_picture
from helpers.runs import CONTENT, STYLE, paint, stopped_after
from nst import PRESETS, RunState, Style, StyleSettings, stylize, unrounded
from nst.io.tensors import to_tensor
from nst.stages import RemainingStage
from nst.strokes import StrokeStage

SETTINGS = StyleSettings.preset("strokes", size=96, steps=8, scales=2, precision="float32", device="cpu")


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(float) / 255


@pytest.fixture(scope="module")
def whole():
    return paint(SETTINGS)


def test_only_its_own_preset_matches_strokes():
    assert [name for name in PRESETS if StyleSettings.preset(name).match_strokes] == ["strokes"]


@pytest.mark.parametrize("count", range(1, 8))
def test_a_run_stopped_at_any_step_continues_bit_for_bit(whole, count, tmp_path):
    stopped_after(count, SETTINGS).state.save(tmp_path / "run.state")
    end = paint(SETTINGS, resume=RunState.load(tmp_path / "run.state"))
    assert end.image.tobytes() == whole.image.tobytes()
    for name, array in whole.state.arrays.items():
        assert np.array_equal(end.state.arrays[name], array), name


def test_a_finished_run_continues_with_more_steps(whole):
    end = paint(replace(SETTINGS, steps=11), resume=whole.state)
    assert end.step == 11
    assert end.image.tobytes() != whole.image.tobytes()


@pytest.mark.parametrize("steps_done", range(12))
def test_rounds_add_up_to_the_stages_steps(steps_done):
    stage = StrokeStage.__new__(StrokeStage)
    stage.stage = RemainingStage(0, 64, (64, 64), 12 - steps_done, steps_done)
    rounds = stage.rounds()
    assert sum(x.steps for x in rounds) == 12 - steps_done
    assert [x.is_new for x in rounds[1:]] == [True] * (len(rounds) - 1)
    assert rounds[0].is_new == (steps_done % 4 == 0)


def test_the_palette_can_be_left_as_it_was_painted():
    settings = replace(SETTINGS, match_palette=False)
    end = paint(settings)
    expected = (end.state.arrays["pixels"][0].transpose(1, 2, 0) * 255).round()
    assert np.array_equal(np.asarray(end.image), expected)


def test_the_unrounded_picture_is_the_finished_one(whole):
    rounded = (unrounded(whole) * 255).round().astype(np.uint8)
    assert np.abs(rounded.astype(int) - np.asarray(whole.image).astype(int)).max() <= 1


def test_the_results_colours_are_colours_of_the_painting(whole):
    """They are nearer to the painting's than the photo's own."""
    painting = values(STYLE).reshape(-1, 3)

    def distance(image: Image.Image) -> float:
        colours = values(image).reshape(-1, 3)[::7]
        return np.sqrt(((colours[:, None] - painting[None, ::5]) ** 2).sum(2)).min(1).mean()

    assert distance(whole.image) < 0.75 * distance(CONTENT)


def test_a_grey_painting_gives_a_grey_picture():
    grey = make_picture(90, 70, seed=2).convert("L").convert("RGB")
    painted = values(paint(SETTINGS, style=grey).image)
    assert np.ptp(painted, axis=2).mean() < 0.02


def test_kept_colours_are_those_of_the_photo():
    settings = replace(SETTINGS, preserve_colours=True)
    painted = to_tensor(paint(settings).image)
    photo = to_tensor(CONTENT.resize((96, 96), Image.Resampling.LANCZOS))
    chroma = [x - x.mean(1, keepdim=True) for x in (painted, photo)]
    inside = ((painted > 0.01) & (painted < 0.99)).all(1, keepdim=True)
    assert ((chroma[0] - chroma[1]).abs() * inside).mean() < 0.01


def test_a_mask_limits_the_palette_to_its_place():
    red = Image.new("RGB", (80, 80), (200, 30, 30))
    red.paste((255, 120, 120), (20, 20, 60, 60))
    mask = Image.new("L", (80, 80))
    mask.paste(255, (0, 0, 40, 80))
    grey = Image.fromarray(np.asarray(CONTENT.convert("L"))).convert("RGB")
    painted = values(paint(SETTINGS, content=grey, style=[Style(red, mask=mask)]).image)
    redness = painted[..., 0] - painted[..., 2]
    assert redness[:, :30].mean() > 0.25
    assert abs(redness[:, -30:].mean()) < 0.05


def test_several_paintings_share_the_picture_by_their_weights():
    dark, light = (Image.fromarray(x) for x in np.uint8([np.asarray(STYLE) // 3, 170 + np.asarray(STYLE) // 3]))

    def brightness(weight: float) -> float:
        return values(paint(SETTINGS, style=[Style(dark, weight), Style(light)]).image).mean()

    assert brightness(9.0) < brightness(1.0) < brightness(1 / 9)


@pytest.mark.parametrize(
    "changes",
    [
        {"init": "noise"}, {"start_noise": 0.1}, {"keep_aspect": False}, {"size": 67}, {"scales": 1, "steps": 1},
        {"content_layers": ("conv1_2", "conv4_2")}, {"laplacian_weight": 0}, {"style_weight": 0},
        {"content_weight": 0}, {"canvas": "pixels"}, {"style_statistic": "gram"}, {"precision": "bf16"},
    ],
    ids=str,
)  # fmt: skip
def test_other_settings_paint_too(changes):
    steps = list(stylize(CONTENT, STYLE, replace(SETTINGS, **changes)))
    assert all(np.isfinite(step.total_loss) for step in steps)
    assert steps[-1].image.size == (changes.get("size", 96), changes.get("size", 96))


def test_a_long_thin_photo_and_a_flat_painting_are_painted():
    thin = make_picture(400, 26, seed=3)
    assert paint(replace(SETTINGS, size=300), content=thin).image.size == (300, 20)
    flat = paint(SETTINGS, style=Image.new("RGB", (64, 64), (40, 80, 120)))
    assert np.abs(values(flat.image).mean((0, 1)) - np.array([40, 80, 120]) / 255).max() < 0.05


def test_it_runs_under_no_grad_and_leaves_the_mode_as_it_was():
    with torch.no_grad():
        assert paint(SETTINGS).step == 8
        assert not torch.is_grad_enabled()
