"""`stylize_video`: frames that are painted each from the ones before."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.clips import pan
from helpers.refusals import refusal
from helpers.runs import STYLE, paint
from helpers.scenes import pan_and_zoom, warping_error
from nst import StrengthMixer, StyleSettings, save_style, stylize, stylize_video
from nst.pictures import Style
from nst.video.painting import VideoPainter, fit_frame

FRAMES = pan(6, cut=4)


def arrays(pictures) -> list[np.ndarray]:
    return [np.asarray(picture) for picture in pictures]


def test_each_frame_becomes_one_picture_of_the_final_size(fast):
    pictures = list(stylize_video(FRAMES, STYLE, replace(fast, size=80)))
    assert [(picture.mode, picture.size) for picture in pictures] == [("RGB", (80, 60))] * 6


def test_the_first_frame_of_a_scene_is_painted_as_a_picture(fast):
    pictures = arrays(stylize_video(FRAMES, STYLE, fast))
    for number in (0, 4):
        assert np.array_equal(pictures[number], paint(fast, FRAMES[number]).image)
    assert not np.array_equal(pictures[1], paint(fast, FRAMES[1]).image)


def test_strength_mixes_each_frame_with_its_photo_and_changes_nothing_that_is_painted_from(fast):
    whole, half = (VideoPainter(STYLE, replace(fast, strength=strength)) for strength in (1.0, 0.5))
    for frame in FRAMES[:2]:
        painted, mixed = whole.paint(frame), half.paint(frame)
        assert np.array_equal(mixed, StrengthMixer(fit_frame(frame, fast), painted).picture(0.5))
        assert torch.equal(half.memory[-1].canvas, whole.memory[-1].canvas)


def test_a_saved_style_takes_the_place_of_a_painting(fast, tmp_path):
    settings = replace(fast, match_palette=True, sketch=True)
    file = save_style([STYLE], tmp_path / "painting.style", settings, largest=64)
    saved, painted = (arrays(stylize_video(FRAMES[:2], style, settings)) for style in (file, STYLE))
    for one, other in zip(saved, painted, strict=True):
        assert np.abs(one.astype(float) - other).mean() < 12


def test_frames_are_not_sharpened(fast):
    sharp, plain = (arrays(stylize_video(FRAMES[:2], STYLE, replace(fast, sharpness=x))) for x in (3.0, 0.0))
    assert all(np.array_equal(one, other) for one, other in zip(sharp, plain, strict=True))


def test_seamless_videos_are_refused(fast):
    assert "seamless" in refusal(lambda: VideoPainter(STYLE, replace(fast, seamless=True)))


def test_frames_are_taken_one_by_one(fast):
    taken = []

    def frames():
        for number, frame in enumerate(FRAMES):
            taken.append(number)
            yield frame

    video = stylize_video(frames(), STYLE, fast)
    next(video)
    assert taken == [0]


def test_frames_may_be_files_and_change_their_size(fast, tmp_path):
    FRAMES[0].save(tmp_path / "frame.png")
    small = FRAMES[0].crop((0, 0, 48, 48))
    first, second = arrays(stylize_video([tmp_path / "frame.png", small], STYLE, fast))
    assert np.array_equal(first, paint(fast, FRAMES[0]).image) and np.array_equal(second, paint(fast, small).image)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"sketch": False, "match_palette": False}], ids=["sketch", "no sketch"])
def test_a_video_does_not_flicker(changes):
    frames, flows = pan_and_zoom(5, 96)
    settings = StyleSettings.preset("quick", size=96, **changes)
    video = list(stylize_video(frames, STYLE, settings))
    alone = [paint(settings, frame).image for frame in frames]
    own, error, error_alone = (warping_error(pictures, flows) for pictures in (frames, video, alone))
    assert error < 1.3 * own and error < error_alone / 3
    contrast, contrast_alone = (np.asarray(pictures[-1].convert("L")).std() for pictures in (video, alone))
    assert contrast == pytest.approx(contrast_alone, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"sketch": False, "match_palette": False}], ids=["sketch", "no sketch"])
def test_a_scene_that_fades_away_becomes_dark(changes):
    bright = np.asarray(pan(1, (96, 72))[0], float)
    frames = [Image.fromarray((bright * (1 - 0.08 * number)).round().astype(np.uint8)) for number in range(9)]
    video = list(stylize_video(frames, STYLE, StyleSettings.preset("quick", size=96, **changes)))
    first, last = (np.asarray(video[number].convert("L")).mean() for number in (0, -1))
    assert last < 0.7 * first


def test_a_painter_goes_on_from_the_memory_of_another(fast):
    settings = replace(fast, sketch=True, match_palette=True)
    first = VideoPainter(STYLE, settings)
    expected = [first.paint(frame) for frame in pan(4)]
    interrupted, other = VideoPainter(STYLE, settings), VideoPainter(STYLE, settings)
    found = [interrupted.paint(frame) for frame in pan(4)[:2]]
    other.memory = list(interrupted.memory)
    found += [other.paint(frame) for frame in pan(4)[2:]]
    assert all(map(np.array_equal, arrays(found), arrays(expected)))


def test_the_memory_stays_small(fast):
    painter = VideoPainter(STYLE, replace(fast, steps=1))
    for frame in pan(12):
        painter.paint(frame)
    assert [frame.number for frame in painter.memory] == [0, 4, 5, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("preset", ["classic", "covariance", "balanced"])
def test_every_method_paints_videos(preset, random_checkpoint):
    settings = StyleSettings.preset(preset, size=64, steps=4, backbone=str(random_checkpoint), precision="float32")
    pictures = arrays(stylize_video(pan(3), STYLE, settings))
    assert len(pictures) == 3 and all(picture.std() > 5 for picture in pictures)


def test_a_mask_keeps_the_clip_outside(fast):
    mask = Image.new("L", (64, 48))
    mask.paste(255, (0, 0, 32, 48))
    frames = pan(2)
    second = arrays(stylize_video(frames, [Style(STYLE, mask=mask)], fast))[1]
    assert np.array_equal(second[:, 36:], np.asarray(frames[1])[:, 36:])
    assert not np.array_equal(second[:, :28], np.asarray(frames[1])[:, :28])


def test_the_clip_keeps_its_colours_if_they_are_preserved(fast):
    frames = pan(3)
    settings = replace(fast, preserve_colours=True, sketch=True)
    last = np.asarray(list(stylize_video(frames, STYLE, settings))[-1], float)
    chroma = last - last.mean(-1, keepdims=True)
    own = np.asarray(frames[-1], float)
    inside = ((last > 2) & (last < 253)).all(-1)  # at black and white, colours are clipped
    assert np.abs(chroma - own + own.mean(-1, keepdims=True))[inside].mean() < 3


def test_it_works_in_a_callers_inference_mode(fast):
    with torch.inference_mode():
        pictures = list(stylize_video(pan(2), STYLE, fast))
    assert all(map(np.array_equal, arrays(pictures), arrays(stylize_video(pan(2), STYLE, fast))))


def test_what_cannot_be_painted_is_refused(fast, tmp_path):
    assert "no such file" in refusal(lambda: next(stylize_video([tmp_path / "none.png"], STYLE, fast)))
    assert "style picture" in refusal(lambda: next(stylize_video(FRAMES, [], fast)))
    assert "The frame" in refusal(lambda: next(stylize_video([Image.new("RGB", (400, 4))], STYLE, fast)))
    assert list(stylize_video([], STYLE, fast)) == []


def test_a_stop_ends_with_the_frame_that_is_being_painted(fast):
    settings = replace(fast, steps=50)
    asked = []

    def should_stop() -> bool:
        asked.append(True)
        return len(asked) >= 3

    (first,) = stylize_video(FRAMES, STYLE, settings, should_stop)  # within its third step
    answers = iter([False, False, True])
    *_, step = stylize(FRAMES[0], STYLE, settings, should_stop=lambda: next(answers))
    assert step.step == 3 and np.array_equal(first, step.image)
    taken = []
    for picture in stylize_video(FRAMES, STYLE, fast, lambda: len(taken) >= 2):
        taken.append(picture)
    assert len(taken) == 2
