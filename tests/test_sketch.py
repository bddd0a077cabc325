"""The sketch, from its patches to the finished picture of a run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.pictures import make_picture
from helpers.runs import CONTENT, STYLE, paint, stopped_after
from nst import PRESETS, RunState, Style, StyleSettings, stylize, unrounded
from nst.io.colour import luminance
from nst.io.tensors import to_tensor
from nst.patches import COMPLETENESS, _nearest, replace_patches

SETTINGS = StyleSettings(size=96, steps=8, scales=2, precision="float32", device="cpu")


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(float) / 255


@pytest.fixture(scope="module")
def whole():
    return paint(SETTINGS)


def test_all_presets_but_the_plain_ones_make_a_sketch():
    assert [name for name in PRESETS if not StyleSettings.preset(name).sketch] == ["classic", "covariance"]


# Patches


def picture(height: int, width: int, seed: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_a_picture_that_is_the_painting_stays_as_it_is():
    painting = picture(40, 52, 1)
    torch.testing.assert_close(replace_patches(painting, [painting], [1.0], 8), painting)


@pytest.mark.parametrize("size", [(40, 52), (37, 41), (16, 90)])
def test_patches_keep_the_pictures_size_and_the_paintings_range(size):
    painting = 0.2 + 0.5 * picture(33, 47, 2)
    patched = replace_patches(picture(*size, 1), [painting], [1.0], 8)
    assert patched.shape == (1, 3, *size)
    assert patched.min() > 0.2 - 1e-5 and patched.max() < 0.7 + 1e-5


def test_a_single_patch_becomes_the_most_similar_one_of_the_painting():
    """NumPy compares every patch of the painting; one patch covers the whole picture."""
    side, patch, painting = 12, picture(12, 12, 1), picture(24, 24, 2)
    rows = [painting[0, :, y : y + side, x : x + side].numpy() for y in range(0, 13, 3) for x in range(0, 13, 3)]
    # One query is its own best partner: the divisor is its distance, and the nearest has the smallest quotient.
    distances = np.array([((row - patch[0].numpy()) ** 2).sum() for row in rows])
    expected = rows[distances.argmin()]
    patched = replace_patches(patch, [painting], [1.0], side)[0].numpy()
    assert np.abs(patched - expected).max() < 1e-5


def test_the_nearest_patch_is_that_of_the_formula():
    queries, patches = (torch.randn(n, 5, generator=torch.Generator().manual_seed(n)).double() for n in (40, 30))
    factors = torch.rand(30, generator=torch.Generator().manual_seed(9)).double() + 0.5
    q, p = queries.numpy(), patches.numpy()
    distances = ((q[:, None] - p[None]) ** 2).sum(2)
    best = distances[::4].min(0)
    expected = (distances * factors.numpy() / (best + COMPLETENESS * (p**2).sum(1).mean())).argmin(1)
    assert np.array_equal(_nearest(queries, patches, factors).numpy(), expected)


def test_a_heavier_painting_gives_more_of_the_patches():
    dark, light = 0.3 * picture(40, 40, 1), 0.7 + 0.3 * picture(40, 40, 2)
    photo = 0.35 + 0.3 * picture(40, 40, 3)

    def brightness(weight: float) -> float:
        return replace_patches(photo, [dark, light], [weight, 1.0], 8).mean().item()

    assert brightness(8.0) < brightness(1.0) < brightness(1 / 8)


# Runs


def test_the_sketch_is_shown_as_it_grows_before_the_first_step(whole):
    steps = list(stylize(CONTENT, STYLE, SETTINGS))
    sketches = [step for step in steps if step.step == 0]
    assert len(sketches) >= 3 and steps[: len(sketches)] == sketches
    assert {step.image.size for step in sketches} == {(96, 96)}
    assert [step.step for step in steps[len(sketches) :]] == list(range(1, 9))
    assert steps[-1].image.tobytes() == whole.image.tobytes()


def test_a_seed_gives_the_same_sketch_and_another_seed_another_one(whole):
    again, other = paint(SETTINGS), paint(replace(SETTINGS, seed=1))
    assert np.array_equal(again.state.pictures["sketch"], whole.state.pictures["sketch"])
    assert not np.array_equal(other.state.pictures["sketch"], whole.state.pictures["sketch"])


def test_the_more_style_the_farther_is_the_sketch_from_the_photo():
    photo = to_tensor(CONTENT.resize((96, 96), Image.Resampling.LANCZOS))
    settings = replace(SETTINGS, size=128, steps=1, scales=1, preserve_colours=True)  # the sketch has 96 px

    def distance(weight: float) -> float:
        sketch = paint(replace(settings, style_weight=weight)).state.pictures["sketch"]
        return np.abs(sketch[:, :1] - luminance(photo).numpy()).mean()

    distances = [distance(weight) for weight in (1.0, 5.0, 15.0, 60.0)]
    assert distances == sorted(distances)


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


def test_the_palette_can_be_left_as_it_was_painted():
    settings = replace(SETTINGS, match_palette=False, sharpness=0.0)
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
    assert all(np.isfinite(step.total_loss) for step in steps if step.step)
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
