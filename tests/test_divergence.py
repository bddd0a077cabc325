"""A step that goes too far is undone, the steps are halved, and a note says so."""

import numpy as np
import pytest
import torch
from PIL import Image

from nst import RunState, StyleSettings, StyleTransferError, stylize
from nst.canvas import Canvas
from nst.settings import PRESETS


@pytest.fixture
def pair():
    y, x = np.mgrid[0:64, 0:80] / 80
    photo = np.stack([x, y, 1 - x], -1)
    painting = np.stack([np.sin(40 * x), np.sin(30 * y), np.sin(25 * (x + y))], -1) / 2 + 0.5
    return [Image.fromarray(np.uint8(255 * picture)) for picture in (photo, painting)]


def settings(**changes):
    return StyleSettings(**{"size": 64, "steps": 8, "scales": 1, **changes})


def damage_updates(monkeypatch, numbers, damage):
    """Call `damage` with the pixels after the updates whose numbers are in `numbers`. Return a list of all rates."""
    update, rates = Canvas.update, []

    def damaged_update(canvas, gradient, learning_rate):
        update(canvas, gradient, learning_rate)
        rates.append(learning_rate)
        if len(rates) in numbers:
            damage(canvas.pixels())

    monkeypatch.setattr(Canvas, "update", damaged_update)
    return rates


def test_a_nan_halves_the_steps_and_the_run_ends_well(pair, monkeypatch):
    rates = damage_updates(monkeypatch, {3}, lambda pixels: pixels[0, 0, 5, 5].fill_(float("nan")))
    steps = list(stylize(*pair, settings(learning_rate=0.04), preview_every=None))
    assert [bool(step.note) for step in steps] == [False] * 3 + [True] + [False] * 4
    assert "Step 3" in steps[3].note and "0.5 times as long" in steps[3].note
    assert rates == pytest.approx([0.04] * 3 + [0.02] * 5)
    assert all(np.isfinite(step.total_loss) for step in steps)
    assert steps[3].total_loss == steps[2].total_loss  # evaluated again where step 3 began


def test_two_nans_in_a_row_halve_the_steps_twice(pair, monkeypatch):
    rates = damage_updates(monkeypatch, {3, 4}, lambda pixels: pixels.fill_(float("inf")))
    list(stylize(*pair, settings(learning_rate=0.04), preview_every=None))
    assert rates[3:] == pytest.approx([0.02, 0.01, 0.01, 0.01, 0.01])


def test_a_step_that_leaves_noise_is_undone(pair, monkeypatch):
    """Every number stays finite here. The guard notices that the losses have grown many times over."""
    noise = lambda pixels: pixels.copy_((torch.rand(pixels.shape) > 0.5).float())  # noqa: E731
    damage_updates(monkeypatch, {6}, noise)
    steps = list(stylize(*pair, settings(style_statistic="gram", content_weight=1), preview_every=None))
    assert steps[6].note and max(step.total_loss for step in steps) <= 2 * steps[0].total_loss


def test_a_run_that_fails_with_every_step_size_is_an_error(pair, monkeypatch):
    damage_updates(monkeypatch, set(range(1, 99)), lambda pixels: pixels.fill_(float("nan")))
    with pytest.raises(StyleTransferError, match="lower the weights or the learning rate"):
        list(stylize(*pair, settings(steps=30), preview_every=None))


@pytest.mark.parametrize("changes", [{}, {"style_weight": 1e-4}, {"content_weight": 0.0}, {"style_weight": 0.0},
                                     {"init": "noise"}, {"learning_rate": 0.2}])  # fmt: skip
def test_ordinary_runs_have_no_note(pair, changes):
    assert not any(step.note for step in stylize(*pair, settings(**changes), preview_every=None))


@pytest.mark.parametrize("preset", PRESETS)
def test_runs_of_presets_have_no_note(pair, preset):
    changed = StyleSettings.preset(preset, size=64, steps=12)
    assert not any(step.note for step in stylize(*pair, changed, preview_every=None))


def test_a_continued_run_keeps_the_shorter_steps(pair, monkeypatch, tmp_path):
    rates = damage_updates(monkeypatch, {2}, lambda pixels: pixels.fill_(float("nan")))
    (*_, last) = stylize(*pair, settings(steps=4), preview_every=None)
    last.state.save(tmp_path / "run.safetensors")
    assert RunState.load(tmp_path / "run.safetensors").step_scale == 0.5
    list(stylize(*pair, settings(steps=6), resume=RunState.load(tmp_path / "run.safetensors")))
    assert rates[-1] == rates[2] == rates[0] / 2
