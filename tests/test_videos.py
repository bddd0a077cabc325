"""Runs that paint clips on the server: which clips are taken, what ends a run, and what its status says."""

import pytest

from helpers.clips import pan, write_clip
from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst.video.clips import Clip
from nst.web.options import Options
from nst.web.run_queue import RunQueue
from nst.web.videos import VideoRuns, VideoStep, video_ending_line, video_line

PAINTING = make_picture(48, 48, seed=2)
FRAMES = 6


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.mp4", pan(FRAMES))


@pytest.fixture(autouse=True)
def own_storage(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


def runs_with(**options) -> tuple[VideoRuns, RunQueue]:
    options = Options(**options)
    queue = RunQueue(options)
    return VideoRuns(options, queue), queue


def test_a_run_tells_every_frame_and_ends_with_the_film(clip, fast):
    runs, _ = runs_with()
    sentence, *steps = runs.paint("a", runs.open(str(clip)), PAINTING, fast)
    assert sentence.startswith("Painting the first frame")
    assert [(step.frame, step.frames) for step in steps] == [(n, FRAMES) for n in (1, 2, 3, 4, 5, 6, 6)]
    assert [step.path is None for step in steps] == [True] * 6 + [False]
    assert len(list(Clip(steps[-1].path).frames())) == FRAMES and not steps[-1].was_stopped
    assert all(step.seconds_left > 0 for step in steps[1:5]) and steps[-1].seconds_left == 0


def test_stop_and_the_time_limit_keep_what_is_there(clip, fast):
    runs, queue = runs_with()
    steps = []
    for step in runs.paint("a", runs.open(str(clip)), PAINTING, fast):
        steps.append(step)
        if isinstance(step, VideoStep) and step.frame == 3:
            queue.stop("a")
    assert steps[-1].was_stopped and steps[-1].frame == 3
    assert len(list(Clip(steps[-1].path).frames())) == 3
    runs, _ = runs_with(time_limit=0)
    *_, last = runs.paint("a", runs.open(str(clip)), PAINTING, fast)
    assert (last.frame, last.frames, last.was_stopped) == (1, FRAMES, True)
    assert video_ending_line(last, 0).startswith("Stopped at frame 1 of 6, by the limit of 0 s a run · 1 frame · ")


def test_a_visitor_who_leaves_frees_the_slot_and_leaves_no_parts(clip, fast, tmp_path):
    runs, queue = runs_with()
    run = runs.paint("a", runs.open(str(clip)), PAINTING, fast)
    assert isinstance(next(run), str) and next(run).frame == 1
    run.close()
    assert not list(tmp_path.rglob("parts-*"))
    assert next(queue.run_when_free("b", lambda should_stop: iter([7]))) == 7


def test_clips_up_to_the_hosts_limit_are_taken_at_the_wanted_rate(tmp_path):
    short, long = (write_clip(tmp_path / f"{n}.mp4", pan(n, (32, 32)), rate=12) for n in (12, 25))
    runs, _ = runs_with(clip_seconds=1)
    assert runs.open(str(short)).rate == 12
    assert runs.open(str(short), 30).rate == 12  # not more than it has
    assert runs.open(str(short), 6).rate == 6
    assert refusal(lambda: runs.open(str(long))).startswith("25.mp4: 2 s long; here at most 1 s")
    assert "Frames a second must be from 5 to 30" in refusal(lambda: runs.open(str(short), 99))


def test_a_clip_that_does_not_tell_its_length_is_painted_up_to_the_limit(tmp_path, fast, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", pan(25, (32, 32)), rate=12)
    runs, _ = runs_with(clip_seconds=1)
    monkeypatch.setattr("nst.video.clips._seconds_of", lambda *_: None)
    clip = runs.open(str(path))
    assert clip.frame_count is None
    *_, last = runs.paint("a", clip, PAINTING, fast)
    assert last.frame == 18  # of a second and a half


def test_the_status_says_how_far_it_is():
    step = VideoStep(make_picture(64, 48, seed=1), 1, 24, 6.0)
    assert video_line(step) == "Frame 1 of 24"
    step = VideoStep(step.image, 12, 24, 20.0, seconds_left=130)
    assert video_line(step) == "Frame 12 of 24 · 2 min left"
    assert video_ending_line(step, 900) == "Done · 12 frames · 20 s · 64 x 48 px"
