"""Variations: four settings of one kind, and four pictures that grow together."""

from contextlib import closing
from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image

from helpers.pictures import make_picture
from helpers.refusals import refusal
from helpers.runs import CONTENT, STYLE, paint
from nst import PRESETS, VARIATIONS, Style, StyleSettings, StyleTransferError, paint_together, stylize, vary


def changed_fields(settings: StyleSettings, other: StyleSettings) -> set[str]:
    return {f.name for f in fields(settings) if getattr(settings, f.name) != getattr(other, f.name)}


# The settings


@pytest.mark.parametrize("preset", PRESETS)
def test_four_small_settings_differ_from_the_given_ones_in_weight_and_brush(preset):
    settings = StyleSettings.preset(preset, seed=5, strength=0.8)
    four = vary(settings)
    assert len(set(four)) == len(VARIATIONS) == 4
    for small in four:
        assert changed_fields(settings, small) <= {"size", "steps", "style_weight", "style_scale"}
        assert small.size <= 256 and small.steps <= 40
    weights, scales = [item.style_weight for item in four], [item.style_scale for item in four]
    assert max(weights[:2]) < min(weights[2:]) and max(scales[::2]) < min(scales[1::2])


def test_a_variation_of_the_full_settings_has_their_size_and_steps():
    settings = StyleSettings.preset("fine", tv_weight=3)
    for variation, small in zip(VARIATIONS, vary(settings), strict=True):
        full = variation.change(settings)
        assert changed_fields(settings, full) <= {"style_weight", "style_scale"}
        assert (full.style_weight, full.style_scale) == (small.style_weight, small.style_scale)


@pytest.mark.parametrize(("weight", "scale"), [(1e9, 2.0), (0.0, 0.25)])
def test_a_variation_of_extreme_settings_stays_within_their_ranges(weight, scale):
    for variation in VARIATIONS:
        variation.change(StyleSettings(style_weight=weight, style_scale=scale))


def test_settings_that_are_small_already_stay_so():
    assert {(item.size, item.steps) for item in vary(StyleSettings(size=100, steps=3))} == {(100, 3)}
    assert {item.size for item in vary(StyleSettings(), size=128)} == {128}


# The pictures


@pytest.fixture
def four(fast) -> list[StyleSettings]:
    """The four settings; the second one has fewer steps."""
    settings = vary(fast)
    return [settings[0], replace(settings[1], steps=2), *settings[2:]]


def test_runs_take_turns_and_end_as_they_would_alone(four):
    lists = list(paint_together(CONTENT, STYLE, four))
    assert [sum(step is not None for step in steps) for steps in lists[:4]] == [1, 2, 3, 4]
    for steps in lists:
        numbers = [step.step if step else 0 for step in steps]
        assert max(numbers) - min(numbers) <= 1
    assert len(lists) == sum(settings.steps for settings in four)
    for settings, step in zip(four, lists[-1], strict=True):
        assert step.state and step.image.tobytes() == paint(settings).image.tobytes()
    assert len({step.image.tobytes() for step in lists[-1]}) == 4


def test_files_masks_and_transparency_count_as_in_a_run_alone(four, tmp_path):
    photo = CONTENT.convert("RGBA")
    photo.paste((0, 0, 0, 0), (60, 0, 80, 80))
    photo.save(tmp_path / "photo.png")
    mask = Image.new("L", CONTENT.size)
    mask.paste(255, (0, 0, 30, 80))
    style = [Style(STYLE, mask=mask)]
    *_, last = paint_together(tmp_path / "photo.png", style, four[:2], preview_every=None)
    for settings, step in zip(four, last, strict=False):
        *_, alone = stylize(tmp_path / "photo.png", style, settings, preview_every=None)
        assert np.array_equal(np.asarray(step.image), np.asarray(alone.image))


def test_a_stop_ends_every_run_with_its_picture(four):
    latest = [None] * 4
    for steps in paint_together(CONTENT, STYLE, four, should_stop=lambda: latest[3] is not None):
        latest[:] = steps
    assert all(step.state and step.image for step in latest)
    assert [step.step for step in latest] == [2, 2, 2, 2]


def test_closing_the_generator_closes_every_run(four, monkeypatch):
    open_runs = []

    def run(*arguments, **options):
        open_runs.append(len(open_runs))
        try:
            yield from stylize(*arguments, **options)
        finally:
            open_runs.pop()

    monkeypatch.setattr("nst.variations.stylize", run)
    with closing(paint_together(CONTENT, STYLE, four)) as lists:
        for _ in range(5):
            next(lists)
        assert len(open_runs) == 4
    assert open_runs == []


def test_what_no_run_could_use_is_refused_with_its_name(four, tmp_path):
    assert "content picture" in refusal(lambda: next(paint_together(make_picture(200, 4), STYLE, four)))
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(StyleTransferError, match=r"notes\.png"):
        next(paint_together(CONTENT, tmp_path / "notes.png", four))
