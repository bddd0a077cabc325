"""The flow between frames, against scenes whose motion is known exactly, and what earlier frames tell of a frame."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.pictures import make_picture, photo, uniform
from helpers.scenes import pan_and_zoom, thing_in_front
from nst.io.tensors import to_tensor
from nst.video.flow import Motion, find_flow, is_consistent, is_cut
from nst.video.past import TEMPORAL_WEIGHT, PaintedFrame, Past


@pytest.fixture(scope="module", params=[pan_and_zoom, thing_in_front], ids=lambda scene: scene.__name__)
def scene(request):
    """Two frames as tensors, the exact flow, where it was seen, and the motion that was found."""
    frames, [(flow, seen)] = request.param(2, 128)
    before, frame = map(to_tensor, frames)
    return before, frame, flow, seen, Motion(before, frame)


def test_the_flow_is_found(scene):
    _, _, flow, seen, motion = scene
    assert np.linalg.norm(motion.flow - flow, axis=-1)[seen].mean() < 0.12  # px
    assert np.linalg.norm(flow, axis=-1)[seen].mean() > 0.5


def test_what_was_seen_is_known_and_moved_to_its_place(scene):
    before, frame, _, seen, motion = scene
    assert motion.known[0, 0].numpy()[seen].mean() > 0.97
    difference = (motion.move(before) - frame).abs().mean(1)[0].numpy()
    assert difference[seen].mean() < (before - frame).abs().mean(1)[0].numpy()[seen].mean() / 3


def test_a_smaller_picture_is_moved_as_the_frame_is(scene):
    before, _, _, seen, motion = scene
    small = torch.nn.functional.interpolate(before, scale_factor=0.5, mode="area")
    expected = torch.nn.functional.interpolate(motion.move(before), scale_factor=0.5, mode="area")
    assert (motion.move(small) - expected).abs().mean(1)[0].numpy()[seen[::2, ::2]].mean() < 0.02


def test_what_comes_into_view_is_not_known():
    before, frame = (make_picture(160, 64, 7).crop((x, 0, x + 128, 64)) for x in (0, 10))
    known = Motion(to_tensor(before), to_tensor(frame)).known[0, 0]
    assert known[:, :110].mean() > 0.98
    assert known[:, 120:].mean() < 0.05


def test_what_a_thing_uncovers_is_not_known():
    ground, thing = to_tensor(make_picture(128, 96, 8)), to_tensor(make_picture(40, 40, 9))
    before, frame = ground.clone(), ground.clone()
    before[..., 30:70, 40:80] = frame[..., 30:70, 48:88] = thing
    known = Motion(before, frame).known[0, 0]
    assert known[30:70, 42:46].mean() < 0.3  # the thing covered this
    assert known[:, :34].mean() > 0.98 and known[35:65, 56:84].mean() > 0.9


@pytest.mark.parametrize("contrast", [0, 0.1, 1])
def test_a_noisy_clip_of_a_still_camera_does_not_move(contrast):
    """In flat areas the flow follows the noise, by many px: the paint would swim."""
    picture = 0.5 + contrast * (to_tensor(make_picture(128, 96, 5)) - 0.5)
    before, frame = (picture + 0.015 * uniform(1, 3, 96, 128, seed=seed) for seed in (1, 2))
    motion = Motion(before, frame)
    assert np.linalg.norm(motion.flow, axis=-1).mean() < 0.3  # without the camera's motion: up to 7
    assert motion.known.mean() > 0.98


def test_a_flat_area_moves_with_the_camera():
    picture = np.array(make_picture(168, 96, 5))
    picture[30:66, 40:110] = 128
    before, frame = (to_tensor(Image.fromarray(picture[:, 4 * k : 4 * k + 160])) for k in (0, 1))
    before, frame = (x + 0.015 * uniform(1, 3, 96, 160, seed=seed) for seed, x in enumerate((before, frame)))
    flow = Motion(before, frame).flow[36:60, 50:96]
    assert np.abs(flow - (4, 0)).mean() < 0.3


def test_the_check_of_the_flow_is_that_of_sundaram():
    """Worked out pixel by pixel, at whole places."""
    rng = np.random.default_rng(0)
    flow, back = (rng.integers(-2, 3, (8, 8, 2)).astype(np.float32) for _ in range(2))
    found = is_consistent(flow, back)
    for y in range(2, 6):
        for x in range(2, 6):
            u, v = flow[y, x]
            other = back[int(y + v), int(x + u)]
            difference = (u + other[0]) ** 2 + (v + other[1]) ** 2
            assert found[y, x] == (difference < 0.01 * (u * u + v * v + (other**2).sum()) + 0.5)


def test_the_flow_does_not_depend_on_the_number_of_threads():
    before, frame = (np.asarray(frame.convert("L")) for frame in pan_and_zoom(2, 128)[0])
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(4)
        flow = find_flow(frame, before)
        assert cv2.getNumThreads() == 4
        cv2.setNumThreads(1)
        assert np.array_equal(find_flow(frame, before), flow)
    finally:
        cv2.setNumThreads(threads)


def test_a_cut_is_found():
    frames = [to_tensor(frame) for frame in pan_and_zoom(2, 128)[0]]
    assert not is_cut(*frames)
    assert is_cut(frames[0], to_tensor(make_picture(128, 96, 3)))
    assert is_cut(frames[0], frames[1][..., :-1])


def painted(number, source, value) -> PaintedFrame:
    return PaintedFrame(
        number, 0, source, torch.full_like(source, value), torch.full_like(source[..., ::2, ::2], value)
    )


def test_what_comes_back_looks_as_it_did():
    """A box hides a part of the middle frame only. There the paint is that of the frame before it."""
    ground = to_tensor(make_picture(96, 64, 4))
    covered = ground.clone()
    covered[..., 20:44, 30:60] = to_tensor(make_picture(30, 24, 11))
    past = Past([painted(0, ground, 0.2), painted(1, covered, 0.8)], ground)
    box = (..., slice(24, 40), slice(34, 56))
    assert past.canvas[box].mean() < 0.25 and past.sketch[..., 12:20, 17:28].mean() < 0.3
    assert past.canvas[..., :10, :].mean() > 0.79 and past.canvas[..., 70:].mean() > 0.79
    assert past.known.mean() > 0.97
    without = Past([painted(1, covered, 0.8)], ground)
    assert without.known[box].mean() < 0.1


def test_the_temporal_loss_is_a_mean_over_all_pixels():
    source = photo(1)
    past = Past([PaintedFrame(0, 0, source, photo(2))], source)
    past.known = (photo(3)[:, :1] > 0.5).float()
    pixels = photo(4)
    expected = TEMPORAL_WEIGHT * np.mean(
        past.known.expand_as(pixels).numpy() * (pixels.numpy() - past.canvas.numpy()) ** 2, dtype=np.float64
    )
    assert past.loss(pixels).item() == pytest.approx(expected, rel=1e-5)
