"""`stylize`: its pictures, steps, previews, early ends and refusals, against nst/reference.py and NumPy."""

import gc
import os
import pickle
import random
import signal
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from helpers.pictures import make_picture
from helpers.runs import CONTENT, STYLE, paint, refused_run, stopped_after
from nst.canvas import Canvas
from nst.engine import threads
from nst.engine.target_cache import TARGETS
from nst.io.tensors import to_tensor
from nst.models.checkpoints import load_backbone
from nst.output.results import unrounded
from nst.pictures import Style
from nst.reference import Reference
from nst.reference import paint as paint_reference
from nst.settings import StyleSettings
from nst.stylization import Step, stylize

IMAGENET = [torch.tensor(v).double().view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
pytestmark = pytest.mark.usefixtures("small_levels")


def change(step: Step, content: Image.Image) -> np.ndarray:
    """Return how much each pixel moved from the photo, in grey levels."""
    before = content.resize(step.image.size, Image.Resampling.LANCZOS)
    return np.abs(np.asarray(step.image, int) - np.asarray(before, int)).mean(2)


# The recipe


def paint_classic(checkpoint, content, style, steps, side, style_weight):
    """Paint with the reference in float64; return the losses of each step and the last picture in grey levels."""
    photo, painting = (
        to_tensor(picture.resize((side, side), Image.Resampling.LANCZOS)).double() for picture in (content, style)
    )
    reference = Reference(photo, painting, load_backbone(checkpoint), style_weight=style_weight)
    pictures = [photo, *(paint_reference(reference, photo, count) for count in range(1, steps + 1))]
    losses = [[loss.item() for loss in reference.losses(picture)] for picture in pictures[:-1]]
    return np.array(losses), pictures[-1][0].permute(1, 2, 0).numpy() * 255


@pytest.mark.parametrize("style_weight", [1.0, 1000.0])
@pytest.mark.slow
def test_the_classic_preset_paints_the_picture_of_a_plain_loop(random_checkpoint, style_weight):
    settings = StyleSettings.preset(
        "classic",
        size=64,
        steps=5,
        style_weight=style_weight,
        backbone=str(random_checkpoint),
        device="cpu",
        precision="float32",
    )
    losses, pixels = paint_classic(random_checkpoint, CONTENT, STYLE, 5, 64, style_weight)
    steps = list(stylize(CONTENT, STYLE, settings))
    step_losses = np.array([(s.content_loss, s.style_loss, s.total_loss) for s in steps])
    # Adam's first steps depend on little more than the gradient's sign: where rounding changes it, one pixel moves far.
    # The first losses come before any step; such pixels add to the later ones.
    np.testing.assert_allclose(step_losses[0], losses[0], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(step_losses, losses, rtol=1e-4, atol=1e-9)
    difference = np.abs(np.asarray(steps[-1].image, float) - pixels)
    assert np.mean(difference > 0.6) < 0.002


def test_the_total_loss_is_the_weighted_sum_and_falls(fast):
    settings = replace(fast, steps=12, content_weight=2.0, style_weight=300.0, tv_weight=5.0, laplacian_weight=4.0)
    steps = list(stylize(CONTENT, STYLE, settings, preview_every=None))
    for step in steps:
        parts = 2.0 * step.content_loss + 4.0 * step.laplacian_loss + 300.0 * step.style_loss + 5.0 * step.tv_loss
        assert step.total_loss == pytest.approx(parts, rel=1e-5)
    assert steps[0].content_loss == pytest.approx(0, abs=1e-10)  # the run starts from the photo
    assert steps[-1].total_loss < 0.8 * steps[0].total_loss


def test_the_first_total_variation_is_that_of_the_photo(fast):
    x = np.asarray(CONTENT.resize((64, 64), Image.Resampling.LANCZOS), float) / 255
    expected = (np.diff(x, axis=0) ** 2).mean() + (np.diff(x, axis=1) ** 2).mean()
    assert next(stylize(CONTENT, STYLE, fast)).tv_loss == pytest.approx(expected, rel=1e-4)


def test_the_classic_preset_paints_224_by_224(random_checkpoint, pictures):
    settings = StyleSettings.preset("classic", steps=1, backbone=str(random_checkpoint), device="cpu")
    assert paint(settings, *pictures).image.size == (224, 224)


@pytest.mark.parametrize(("keep_aspect", "expected"), [(True, (64, 48)), (False, (64, 64))])
def test_the_result_is_square_unless_the_photos_aspect_is_kept(fast, pictures, keep_aspect, expected):
    settings = replace(fast, steps=1, keep_aspect=keep_aspect)
    assert paint(settings, *pictures).image.size == expected


def test_paths_and_opened_pictures_give_the_same_result(fast, pictures):
    content, style = pictures
    from_paths = paint(fast, str(content), style)
    from_pictures = paint(fast, Image.open(content), Image.open(style))
    assert from_paths.image.tobytes() == from_pictures.image.tobytes()


def test_a_run_does_not_change_the_pictures_passed_to_it(fast):
    content, style = make_picture(60, 50).convert("RGBA"), make_picture(50, 50).convert("P")
    mask = Image.new("L", (9, 9))
    content.info["comment"] = "a photo"
    content.putpixel((0, 0), (1, 2, 3, 4))
    mask.paste(255, (0, 0, 5, 9))
    pictures = (content, style, mask)
    before = [(p.mode, p.size, dict(p.info), p.tobytes()) for p in pictures]
    paint(replace(fast, size=80, steps=1), content, [Style(style, mask=mask)])
    assert [(p.mode, p.size, dict(p.info), p.tobytes()) for p in pictures] == before


# Steps


def test_steps_and_stages_are_numbered_as_the_settings_say(two_stages):
    settings = replace(two_stages, steps=3)
    steps = list(stylize(CONTENT, STYLE, settings, preview_every=None))
    assert [(s.step, s.steps, s.stage) for s in steps] == [(1, 3, 0), (2, 3, 0), (3, 3, 1)]
    assert [s.seconds for s in steps] == sorted(s.seconds for s in steps)
    assert all(s.seconds_left > 0 for s in steps[:-1]) and steps[-1].seconds_left == 0
    assert [s.state is None for s in steps] == [True, True, False]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_run_has_as_many_steps_as_the_settings_say(fast, steps):
    assert len(list(stylize(CONTENT, STYLE, replace(fast, steps=steps)))) == steps


@pytest.mark.parametrize(
    ("preview_every", "expected"),
    [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, [5]), (9, [5]), (None, [5]), (1e-9, [1, 2, 3, 4, 5]), (1e9, [1, 5])],
)
def test_previews_come_at_the_interval_and_with_the_last_step(fast, preview_every, expected):
    steps = stylize(CONTENT, STYLE, replace(fast, steps=5), preview_every=preview_every)
    assert [step.step for step in steps if step.image] == expected


def test_previews_of_coarse_stages_have_the_final_size(two_stages):
    steps = list(stylize(make_picture(100, 90), STYLE, replace(two_stages, size=150)))
    assert [s.stage for s in steps] == [0, 0, 1, 1]
    assert {s.image.size for s in steps} == {(150, 135)}
    assert steps[-1].state.arrays["pixels"].shape == (1, 3, 135, 150)


def test_the_image_holds_the_painted_pixels(fast):
    step = paint(fast)
    pixels = np.moveaxis(step.state.arrays["pixels"][0], 0, -1)
    assert pixels.min() >= 0 and pixels.max() <= 1
    np.testing.assert_array_equal(np.asarray(step.image), np.round(pixels * 255).astype(np.uint8))


def test_should_stop_ends_the_run_with_an_image_and_a_state(fast):
    answers = iter([False, True])
    steps = stylize(CONTENT, STYLE, fast, preview_every=None, should_stop=lambda: next(answers))
    first, last = steps
    assert first.image is None and first.state is None
    assert (last.step, last.steps, last.seconds_left) == (2, 3, 0)
    assert last.image.size == (64, 64) and last.state.step == 2 and last.state.stage_step == 2


def test_steps_can_be_pickled(fast):
    for step in stylize(CONTENT, STYLE, replace(fast, steps=2)):
        copy = pickle.loads(pickle.dumps(step))
        assert replace(copy, image=None, state=None) == replace(step, image=None, state=None)
        assert copy.image.tobytes() == step.image.tobytes()
    assert (copy.state.step, copy.state.stage, copy.state.stage_step) == (2, 0, 2)
    np.testing.assert_array_equal(copy.state.random_state, step.state.random_state)
    moments = {f"{name}.{level}" for name in ("exp_avg", "exp_avg_sq") for level in range(5)}  # 64 px, 32, 16, 8, 4
    assert set(copy.state.arrays) == {"pixels", "step", *moments}
    for name, array in step.state.arrays.items():
        np.testing.assert_array_equal(copy.state.arrays[name], array)


def tensors_alive() -> int:
    """Return the number of tensors in memory."""
    gc.collect()
    # Not isinstance(), which would wake torch's deprecated lazy objects: they warn.
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_a_run_closed_early_frees_everything_and_another_can_follow(fast):
    paint(fast)  # the backbone and, up to a limit, targets stay in memory for all runs
    TARGETS.clear()
    content = make_picture(70, 70)
    sentinel, before = weakref.ref(content), tensors_alive()
    run = stylize(content, STYLE, fast)
    next(run)
    assert tensors_alive() > before
    run.close()
    del content
    TARGETS.clear()
    assert tensors_alive() == before
    assert sentinel() is None
    assert paint(fast).step == 3


def test_a_failed_run_frees_everything(fast):
    paint(fast)
    before = tensors_alive()

    def broken():
        raise RuntimeError("not now")

    with pytest.raises(RuntimeError):
        paint(fast, should_stop=broken)
    assert tensors_alive() == before


def test_steps_run_on_any_thread_and_leave_its_grad_mode_alone(fast):
    expected = paint(fast).image.tobytes()
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second, torch.no_grad():
        for thread in (first, second):
            thread.submit(torch.set_grad_enabled, thread is second).result()
        run = stylize(CONTENT, STYLE, fast)
        for thread in (first, second, first):
            step = thread.submit(next, run).result()
            modes = [pool.submit(torch.is_grad_enabled).result() for pool in (first, second)]
            assert modes == [False, True]
            assert not torch.is_grad_enabled()
        second.submit(run.close).result()
        assert not first.submit(torch.is_grad_enabled).result()
    assert step.image.tobytes() == expected
    assert torch.is_grad_enabled()


# Determinism, several styles, masks


@pytest.mark.parametrize("init", ["content", "noise"])
def test_the_same_seed_gives_the_same_bytes(fast, init):
    settings = replace(fast, init=init, seed=5)
    torch.manual_seed(1)
    first = paint(settings).image.tobytes()
    torch.manual_seed(2)  # torch's global generator must not matter
    assert paint(settings).image.tobytes() == first


def test_the_seed_matters_only_when_the_run_starts_from_noise(fast):
    by_seed = {
        (init, seed): paint(replace(fast, init=init, seed=seed, steps=1)).image.tobytes()
        for init in ("content", "noise")
        for seed in (0, 1)
    }
    assert by_seed["content", 0] == by_seed["content", 1]
    assert by_seed["noise", 0] != by_seed["noise", 1]


def test_a_start_from_noise_is_uniform_noise(fast):
    step = paint(replace(fast, init="noise", steps=1, learning_rate=1e-6, canvas="pyramid"))
    assert np.asarray(step.image).mean() == pytest.approx(127.5, abs=3)
    assert np.asarray(step.image).std() == pytest.approx(255 / 12**0.5, abs=3)


def test_noise_has_no_grid_of_two_pixels_in_a_smooth_pyramid(fast):
    def grid(picture: np.ndarray) -> float:
        """Return the share of the power at the highest frequency of both axes."""
        power = np.abs(np.fft.fft2(picture - picture.mean((0, 1)), axes=(0, 1))) ** 2
        height, width = picture.shape[:2]
        return max(power[height // 2].sum() * height, power[:, width // 2].sum() * width) / power.sum()

    for changes in ({"init": "noise"}, {"start_noise": 0.2}):
        shares = []
        for canvas in ("pyramid", "smooth-pyramid"):
            settings = replace(fast, steps=1, learning_rate=1e-6, canvas=canvas, **changes)
            step = paint(settings, Image.new("L", (64, 64), 128))
            shares.append(grid(np.asarray(step.image.convert("L"), float)))
        assert shares[1] < 0.05 * shares[0]


@pytest.mark.parametrize("weights", [(1, 3), (0.5, 1.5)])
def test_several_styles_count_in_proportion_to_their_weights(fast, weights):
    other = make_picture(64, 64, seed=7)
    first, second = (next(stylize(CONTENT, style, fast)).style_loss for style in (STYLE, other))
    both = next(stylize(CONTENT, [Style(STYLE, weights[0]), Style(other, weights[1])], fast)).style_loss
    assert both == pytest.approx(0.25 * first + 0.75 * second, rel=1e-5)
    assert abs(first - second) > 0.01 * first


def start_noise(settings: StyleSettings, **options) -> np.ndarray:
    """Return the noise that a run at 64 px starts with, in units of pixel value: its start minus the photo.

    A step of 1e-6 does not change the start. Rounding to 8 bits adds up to half a level.
    """
    settings = replace(settings, steps=1, learning_rate=1e-6, **options.pop("changes", {}))
    step = paint(settings, **options)
    before = CONTENT.resize(step.image.size, Image.Resampling.LANCZOS)
    return (np.asarray(step.image, float) - np.asarray(before, float)) / 255


def test_the_start_noise_is_gaussian_with_the_set_deviation_and_seed(fast):
    """Only pixels far from black and white are measured: elsewhere the noise is clipped."""
    noise = start_noise(fast, changes={"start_noise": 0.05})
    grey = np.abs(np.asarray(CONTENT.resize((64, 64), Image.Resampling.LANCZOS), float) / 255 - 0.5) < 0.3
    assert grey.sum() > 1000
    assert noise[grey].std() == pytest.approx(0.05, rel=0.1) and abs(noise[grey].mean()) < 0.01
    assert np.array_equal(noise, start_noise(fast, changes={"start_noise": 0.05}))
    other = start_noise(fast, changes={"start_noise": 0.05, "seed": 1})
    assert abs(np.corrcoef(noise[grey], other[grey])[0, 1]) < 0.2
    assert not start_noise(fast, changes={"start_noise": 0.0}).any()


def test_the_start_noise_stays_within_the_masks_and_keeps_preserved_colours(fast):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    noise = start_noise(fast, changes={"start_noise": 0.05}, style=[Style(STYLE, mask=mask)])
    assert np.abs(noise[:, :31]).mean() > 0.02 and not noise[:, 33:].any()
    noise = start_noise(fast, changes={"start_noise": 0.05, "preserve_colours": True})
    colour = np.abs(noise - noise.mean(2, keepdims=True))
    assert noise.std() > 0.03 and colour.max() < 0.2  # not 0: clipped at black and white
    assert np.median(colour) < 0.003


def test_every_stage_starts_with_noise_but_a_resumed_one_does_not(two_stages, monkeypatch):
    shapes = []
    monkeypatch.setattr(Canvas, "add_noise", lambda canvas, noise: shapes.append(tuple(noise.shape)))
    settings = replace(two_stages, start_noise=0.1)
    stopped = stopped_after(1, settings)
    assert shapes == [(1, 3, 64, 64)]
    paint(settings, resume=stopped.state)
    assert shapes[1:] == [(1, 3, 128, 128)]


def test_a_single_style_may_have_any_form(fast):
    forms = [STYLE, [STYLE], (Style(STYLE),), [Style(STYLE, 7)], [Style(STYLE, mask=Image.new("L", (5, 5), 255))]]
    losses = [next(stylize(CONTENT, style, fast)).style_loss for style in forms]
    assert losses == pytest.approx([losses[0]] * len(forms), rel=1e-5)


@pytest.mark.parametrize("white", ["left", "right"])
def test_a_mask_confines_the_style_to_its_white_part(fast, white):
    # One level: on the coarser levels of so small a picture, every position's receptive field crosses the mask's edge.
    plain = {"style_levels": 1, "relative_losses": False, "style_weight": 1000.0, "learning_rate": 0.02}
    plain |= {"canvas": "pixels", "laplacian_weight": 0.0}  # no coefficient and no outline spans the edge
    settings = replace(fast, steps=6, tv_weight=0.0, **plain)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64) if white == "left" else (32, 0, 64, 64))
    difference = change(paint(settings, style=[Style(STYLE, mask=mask)]), CONTENT)
    left, right = difference[:, :24].mean(), difference[:, 40:].mean()
    inside, outside = (left, right) if white == "left" else (right, left)
    assert inside > 5 and outside < 0.5 * inside
    everywhere = change(paint(settings), CONTENT)
    assert min(everywhere[:, :24].mean(), everywhere[:, 40:].mean()) > 0.7 * inside


def test_outside_a_mask_the_photos_own_pixels_stay(fast):
    """With the losses that reach farthest: four levels, outlines, the palette. The seam lies inside the mask."""
    settings = replace(fast, size=128, steps=6, style_levels=4, laplacian_weight=25.0, match_palette=True, sketch=True)
    mask = Image.new("L", (128, 128))
    mask.paste(255, (40, 40, 90, 90))
    painted = paint(settings, style=[Style(STYLE, mask=mask)])
    difference = change(painted, CONTENT)
    outside = np.asarray(mask) == 0
    assert difference[outside].max() < 1
    assert difference[50:80, 50:80].mean() > 5
    rounded = unrounded(painted) * 255
    assert np.abs(rounded - np.asarray(painted.image)).max() < 0.51


def test_a_mask_on_transparency_paints_where_it_is_white_and_opaque(fast):
    half = Image.new("L", (64, 64))
    half.paste(255, (0, 0, 32, 64))
    on_transparency = Image.merge("LA", (Image.new("L", (64, 64), 255), half))
    expected, painted = (paint(fast, style=[Style(STYLE, mask=mask)]) for mask in (half, on_transparency))
    assert painted.image.tobytes() == expected.image.tobytes()


def test_a_run_within_inference_mode_paints_the_same_and_spoils_nothing(fast, tmp_path, random_checkpoint):
    copied = tmp_path / "copied.safetensors"  # a network that no run has loaded yet
    copied.write_bytes(random_checkpoint.read_bytes())
    settings = replace(fast, backbone=str(copied))
    with torch.inference_mode():
        within = paint(settings)
        assert torch.is_inference_mode_enabled()
    assert paint(settings).image.tobytes() == within.image.tobytes()


def global_state() -> list:
    return [torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype(), torch.initial_seed(),
            torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate(),
            signal.getsignal(signal.SIGINT), warnings.filters[:], os.environ.copy(), os.getcwd()]  # fmt: skip


def test_a_run_changes_nothing_global(fast, monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    settings = replace(fast, sketch=True, match_palette=True)
    paint(settings)  # torch imports sympy in a process's first run, which adds a filter of warnings
    threads_before = torch.get_num_threads()
    torch.set_num_threads(2)  # more than there are cores
    try:
        before = global_state()
        paint(settings)
        assert global_state() == before
    finally:
        torch.set_num_threads(threads_before)


# Input that cannot be used


def test_unusable_files_are_refused_by_name(fast, tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")
    assert refused_run(content=tmp_path / "photo.png", settings=fast).startswith("photo.png: no such file")
    assert refused_run(style=tmp_path / "notes.txt", settings=fast).startswith("notes.txt: ")
    assert refused_run(settings=replace(fast, backbone=str(tmp_path / "no.safetensors"))).startswith("no.safetensors: ")


@pytest.mark.parametrize("which", ["content", "style"])
def test_a_very_narrow_picture_is_refused(fast, which):
    message = refused_run(**{which: make_picture(20, 400)}, settings=fast)
    assert message.startswith(f"The {which} picture: its short side would be 3 px")


@pytest.mark.parametrize("picture", [None, 3, b"photo.png", np.zeros((64, 64, 3), np.uint8)])
@pytest.mark.parametrize("which", ["content", "style"])
def test_an_object_that_is_no_picture_is_refused(fast, which, picture):
    assert type(picture).__name__ in refused_run(**{which: picture}, settings=fast)


@pytest.mark.parametrize("style", [[], (), [None], [STYLE, 3], {"picture": STYLE}, [[STYLE]], [Style(STYLE, mask=3)]])
def test_unusable_styles_are_refused(fast, style):
    refused_run(style=style, settings=fast)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), True, "1", None])
def test_a_style_weight_must_be_a_number_above_0(fast, weight):
    message = refused_run(style=[Style(STYLE), Style(STYLE, weight)], settings=fast)
    assert message.startswith("Style picture 2: its weight") and repr(weight) in message


@pytest.mark.parametrize("preview_every", [0, -1, 0.0, float("nan"), True, "often", [1]])
def test_preview_every_must_be_a_number_above_0(fast, preview_every):
    assert refused_run(settings=fast, preview_every=preview_every).startswith("preview_every must be")


@pytest.mark.parametrize("options", [{"settings": {"size": 64}}, {"settings": "quick"}, {"resume": "run.safetensors"}])
def test_arguments_of_the_wrong_type_are_refused(fast, options):
    assert "not " in refused_run(**({"settings": fast} | options))


def test_a_loss_that_overflows_is_refused_at_its_step(fast, random_checkpoint, tmp_path):
    huge = {key: value * 1000 for key, value in load_file(random_checkpoint).items()}
    save_file(huge, tmp_path / "huge.safetensors")
    message = refused_run(
        settings=replace(fast, backbone=str(tmp_path / "huge.safetensors"), style_layers=("conv5_1",))
    )
    assert message.startswith("The loss is no longer finite at step 1")
