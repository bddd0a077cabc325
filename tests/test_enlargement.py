"""Large pictures: they keep the strokes of a small one, and an enlarged picture is what a larger run paints."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nst import RunState, StyleSettings, StyleTransferError, describe, enlarged, stylize

PRESETS = {
    "quick": {"size": 64, "steps": 5},
    "classic": {"size": 64, "steps": 3},
    "covariance": {"size": 64, "steps": 3},
}


@pytest.fixture
def pair() -> tuple[Image.Image, Image.Image]:
    """A photo of soft hills, and a painting of stripes."""
    rows, columns = np.mgrid[:90, :120]
    hills = np.stack([rows + columns, 255 - rows, 128 + 90 * np.sin(columns / 20)], 2).clip(0, 255)
    stripes = np.stack([255 * ((rows + columns) // 5 % 2), columns * 2, 255 * (rows // 9 % 2)], 2).clip(0, 255)
    return tuple(Image.fromarray(array.astype(np.uint8)) for array in (hills, stripes))


def paint(pair, settings, **options):
    *_, last = stylize(*pair, settings, preview_every=None, **options)
    return last


def small(checkpoint, preset: str = "quick", **changes) -> StyleSettings:
    changes = PRESETS[preset] | {"backbone": str(checkpoint), "device": "cpu", "precision": "float32"} | changes
    return StyleSettings.preset(preset, **changes)


def is_same(a, b) -> bool:
    return np.array_equal(a.image, b.image) and all(
        map(np.array_equal, a.state.arrays.values(), b.state.arrays.values())
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_picture_that_is_enlarged_twice_is_the_one_that_a_larger_run_paints(
    random_checkpoint, pair, preset, tmp_path
):
    settings = small(random_checkpoint, preset)
    step, recipe = paint(pair, settings), describe(*pair, settings)
    for factor in (2, 4):
        step.state.save(tmp_path / "state.safetensors")
        state = RunState.load(tmp_path / "state.safetensors")
        settings = enlarged(settings, state, pair[0].size)
        step, recipe = paint(pair, settings, resume=state), describe(*pair, settings).enlarging(recipe)
        assert max(step.image.size) == factor * PRESETS[preset]["size"]
        assert recipe.repeatable and step.step == settings.steps
        assert is_same(step, paint(pair, settings))


def test_an_enlargement_can_be_stopped_and_continued(random_checkpoint, pair):
    settings = small(random_checkpoint, size=128, steps=12, detail_above=64, preserve_colours=True)
    whole = paint(pair, settings)
    steps = iter(range(settings.steps))
    stopped = paint(pair, settings, should_stop=lambda: next(steps) == settings.steps - 2)
    assert (stopped.step, stopped.stage) == (settings.steps - 1, len(settings.stages()) - 1)
    assert is_same(paint(pair, settings, resume=stopped.state), whole)


def test_a_large_picture_has_the_strokes_of_a_small_one(random_checkpoint, pair):
    """Reduced to its size, it differs less from it than one whose large stages paint strokes of their own."""
    settings = small(random_checkpoint, detail_above=96, size=80, style_weight=200, steps=12)
    wanted = np.float32(paint(pair, settings).image)

    def difference(**changes) -> float:
        large = paint(pair, replace(settings, size=320, **changes)).image
        return abs(np.float32(large.resize(wanted.shape[1::-1], Image.Resampling.LANCZOS)) - wanted).mean()

    assert difference() < 0.7 * difference(detail_above=8192)


def test_a_picture_that_was_stopped_is_enlarged_as_it_is(random_checkpoint, pair):
    """Its steps are not made up for. One that has not reached its size is painted to its end first."""
    settings = small(random_checkpoint, size=128, keep_aspect=False, steps=20)
    for stop, steps in ((14, 14 + 3), (8, 20 + 3)):
        count = iter(range(1, 21))
        stopped = paint(pair, settings, should_stop=lambda count=count, stop=stop: next(count) == stop)
        assert stopped.step == stop
        larger = enlarged(settings, stopped.state, pair[0].size)
        assert (larger.size, larger.steps) == (256, steps)
        stages = [step.stage for step in stylize(*pair, larger, resume=stopped.state, preview_every=None)]
        assert stages.count(2) == 3
        recipe = replace(describe(*pair, settings), steps_done=stop)
        assert not describe(*pair, larger).enlarging(recipe).repeatable


def test_a_recipe_of_an_enlarged_picture_does_not_promise_what_an_earlier_change_forbids(random_checkpoint, pair):
    settings = small(random_checkpoint)
    before, after = describe(*pair, settings), describe(*pair, replace(settings, size=128, steps=6))
    assert after.enlarging(before).repeatable
    assert not after.enlarging(replace(before, repeatable=False)).repeatable
    assert not after.enlarging(replace(before, content="0" * 64)).repeatable


def test_a_picture_larger_than_any_setting_allows_is_refused(random_checkpoint, pair):
    state = paint(pair, small(random_checkpoint, steps=1)).state
    with pytest.raises(StyleTransferError, match="cannot be enlarged: 8192 px is the largest size"):
        enlarged(small(random_checkpoint, size=4097), state, pair[0].size)
