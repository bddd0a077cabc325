"""The strength of a painting: the ends are exact, what is between is a lighter painting and no double exposure."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage.filters import gaussian

from helpers.pictures import make_picture
from helpers.refusals import refusal
from helpers.runs import CONTENT, STYLE, paint, stopped_after
from nst import RunState, StrengthMixer, Style, load_picture, unrounded, with_strength
from nst.examples import painting_path, photo_path
from nst.stylization import stylize

STRENGTHS = [i / 10 for i in range(16)]


def floats(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, np.float32) / 255


@pytest.fixture(scope="module")
def pair() -> tuple[Image.Image, Image.Image]:
    """A photo and a painting that show different things, so that their edges have nothing in common."""
    paths = photo_path("chelsea"), painting_path("oil")
    return tuple(load_picture(path).resize((192, 144)) for path in paths)


# The mixture of two pictures


@pytest.mark.parametrize("strength", [0, 1])
def test_the_ends_are_exactly_the_photo_and_the_painting(pair, strength):
    assert StrengthMixer(*pair).picture(strength).tobytes() == pair[strength].tobytes()
    arrays = [np.random.default_rng(seed).random((40, 33, 3), np.float32) for seed in (0, 1)]
    assert np.array_equal(StrengthMixer(*arrays).mix(strength), arrays[strength])


def test_the_mixture_moves_steadily_from_the_photo_through_the_painting(pair):
    photo, painting = map(floats, pair)
    mixer = StrengthMixer(*pair)
    mixtures = [mixer.mix(strength) for strength in STRENGTHS]
    to_photo = np.array([np.square(mixture - photo).mean() for mixture in mixtures])
    to_painting = np.array([np.square(mixture - painting).mean() for mixture in mixtures])
    assert (np.diff(to_photo) > 0).all()
    assert (np.diff(to_painting[:11]) < 0).all() and (np.diff(to_painting[10:]) > 0).all()
    assert all(mixture.min() >= 0 and mixture.max() <= 1 for mixture in mixtures)


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.5, 0.8, 1.0, 1.2])
def test_a_small_change_of_the_strength_changes_the_picture_little(pair, strength):
    mixer = StrengthMixer(*pair)
    assert np.abs(mixer.mix(strength + 1e-3) - mixer.mix(strength)).max() < 0.01


def double_exposure(mixture: np.ndarray, photo: np.ndarray, painting: np.ndarray) -> float:
    """Return how much of the weaker picture shows, where photo and painting have different edges.

    In every window the mixture's details are written as a times the photo's plus b times the painting's, by least
    squares; the result is the mean of the smaller one of a and b. A cross-fade of one half has one half.
    """
    details = [x.mean(2) - gaussian(x.mean(2), 3) for x in (mixture, photo, painting)]
    window = lambda x: gaussian(x, 4)  # noqa: E731
    m, p, q = details
    pp, qq, pq, mp, mq = map(window, (p * p, q * q, p * q, m * p, m * q))
    determinant = pp * qq - pq * pq
    is_different = (np.minimum(pp, qq) > 0.02**2) & (np.abs(pq) < 0.3 * np.sqrt(pp * qq))
    assert is_different.mean() > 0.1
    of_photo, of_painting = (mp * qq - mq * pq) / determinant, (mq * pp - mp * pq) / determinant
    return float(np.minimum(of_photo, of_painting)[is_different].mean())


@pytest.mark.parametrize("strength, at_most", [(0.1, 0.5), (1 / 3, 0.9), (0.5, 0.35), (0.75, 0.35), (0.9, 0.35)])
def test_edges_of_both_pictures_do_not_show_in_one_place(pair, strength, at_most):
    """At a third the selection turns from the photo to the painting, in most places."""
    photo, painting = map(floats, pair)
    cross_fade = photo + np.float32(strength) * (painting - photo)
    assert double_exposure(cross_fade, photo, painting) == pytest.approx(min(strength, 1 - strength), abs=0.01)
    mixture = StrengthMixer(*pair).mix(strength)
    assert double_exposure(mixture, photo, painting) < at_most * min(strength, 1 - strength)


def test_half_strength_keeps_the_contrast_that_a_cross_fade_loses(pair):
    photo, painting = map(floats, pair)
    contrast = lambda x: np.std(x - gaussian(x, 3, channel_axis=2))  # noqa: E731
    expected = (contrast(photo) + contrast(painting)) / 2
    assert contrast((photo + painting) / 2) < 0.75 * expected
    assert contrast(StrengthMixer(*pair).mix(0.5)) > 0.85 * expected


def test_pictures_that_differ_in_contrast_and_colour_alone_are_averaged():
    photo = floats(load_picture(photo_path("chelsea")).resize((128, 96)))
    painting = 0.1 + 0.6 * photo
    assert np.abs(StrengthMixer(photo, painting).mix(0.4) - (0.6 * photo + 0.4 * painting)).max() < 0.02


@pytest.mark.parametrize("strength", [0.3, 0.7, 1.3])
def test_what_is_not_painted_stays_exactly_as_it_is(pair, strength):
    photo, painting = pair
    painting = painting.copy()
    painting.paste(photo.crop((0, 0, 90, 144)), (0, 0))
    mixture = StrengthMixer(photo, painting).picture(strength)
    assert np.array_equal(np.asarray(mixture)[:, :90], np.asarray(photo)[:, :90])
    assert not np.array_equal(np.asarray(mixture)[:, 90:], np.asarray(photo)[:, 90:])


def test_a_photo_of_another_size_is_resized_to_the_painting(pair):
    photo = pair[0].resize((300, 200))
    mixture = StrengthMixer(photo, pair[1]).picture(0)
    assert mixture.tobytes() == photo.resize(pair[1].size, Image.Resampling.LANCZOS).tobytes()


@pytest.mark.parametrize("size", [(16, 16), (16, 300), (23, 25), (40, 17)])
def test_small_and_narrow_pictures_are_mixed(size):
    mixture = StrengthMixer(make_picture(*size, seed=1), make_picture(*size, seed=2)).mix(0.5)
    assert mixture.shape == (size[1], size[0], 3) and np.isfinite(mixture).all()


@pytest.mark.parametrize("wrong", [-0.1, 1.6, float("nan"), True, "1", None])
def test_a_strength_out_of_range_is_refused(pair, wrong):
    assert refusal(StrengthMixer(*pair).mix, wrong).startswith("strength must be a number from 0 to 1.5")


def test_arrays_of_different_sizes_are_refused():
    assert "same size" in refusal(StrengthMixer, np.zeros((20, 30, 3)), np.zeros((30, 20, 3)))


# Runs


def test_a_run_ends_at_its_strength_and_its_state_keeps_the_painting(fast):
    full, half = paint(fast), paint(replace(fast, strength=0.5))
    expected = StrengthMixer(CONTENT.resize((64, 64), Image.Resampling.LANCZOS), full.image).picture(0.5)
    assert half.image.tobytes() == expected.tobytes() != full.image.tobytes()
    assert np.array_equal(half.state.pictures["finished"], full.state.pictures["finished"])
    assert np.abs(unrounded(half) * 255 - np.asarray(half.image)).max() < 1.5
    assert not np.array_equal(unrounded(half) * 255, np.round(unrounded(half) * 255))
    assert "mixed" not in full.state.pictures


def test_previews_have_the_strength_of_the_run(fast):
    full, half = (list(stylize(CONTENT, STYLE, replace(fast, strength=strength))) for strength in (1.0, 0.5))
    for painting, mixture in zip(full[:-1], half[:-1], strict=True):
        assert mixture.image.tobytes() == StrengthMixer(CONTENT, painting.image).picture(0.5).tobytes()


def test_a_run_stopped_in_a_coarse_stage_ends_with_the_sharp_photo_at_strength_0(two_stages):
    step = stopped_after(1, replace(two_stages, strength=0.0))
    assert step.state.arrays["pixels"].shape[-1] == 64
    photo = CONTENT.resize((128, 128), Image.Resampling.LANCZOS)
    assert step.image.tobytes() == photo.tobytes()
    assert np.array_equal(np.round(unrounded(step) * 255), np.asarray(photo))


def test_the_strength_of_a_result_can_be_changed_afterwards(fast, tmp_path):
    full, half = paint(fast), paint(replace(fast, strength=0.5))
    half.state.save(tmp_path / "run.safetensors")
    saved = replace(half, state=RunState.load(tmp_path / "run.safetensors"))
    again = with_strength(saved, CONTENT, 1.0)
    assert again.image.tobytes() == full.image.tobytes() and np.array_equal(unrounded(again), unrounded(full))
    again = with_strength(again, CONTENT, 0.5)
    assert again.image.tobytes() == half.image.tobytes() and np.array_equal(unrounded(again), unrounded(half))


def test_a_mixed_run_continues_as_one_of_full_strength(fast):
    mixed = paint(replace(fast, strength=0.2))
    more = paint(replace(fast, steps=5), resume=mixed.state)
    assert more.image.tobytes() == paint(replace(fast, steps=5), resume=paint(fast).state).image.tobytes()


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.5])
def test_places_outside_the_mask_stay_the_photo(fast, strength):
    mask = Image.new("L", CONTENT.size)
    ImageDraw.Draw(mask).rectangle((0, 0, 39, 79), 255)
    step = paint(replace(fast, strength=strength), style=[Style(STYLE, mask=mask)])
    photo = np.asarray(CONTENT.resize((64, 64), Image.Resampling.LANCZOS))
    assert np.array_equal(np.asarray(step.image)[:, 36:], photo[:, 36:])


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.5])
def test_transparent_parts_keep_their_plain_ground(fast, strength):
    photo = CONTENT.convert("RGBA")
    photo.paste((0, 0, 0, 0), (40, 0, 80, 80))
    ground = np.asarray(paint(fast, content=photo).image)[:, 36:]
    assert (ground == ground[0, 0]).all()
    mixed = np.asarray(paint(replace(fast, strength=strength), content=photo).image)
    assert np.array_equal(mixed[:, 36:], ground)
