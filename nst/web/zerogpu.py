"""Hugging Face's ZeroGPU: `spaces.GPU` lends a GPU to one run at a time, in a process of its own.

On any other machine `stylize` is `nst.stylize` itself. Everything that crosses between the two processes is pickled:
pictures, settings and a RunState go in, steps come out. A stop flag cannot cross, so Stop ends the run from outside.
"""

import itertools
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

from PIL import Image

from nst import RunState, Step, StyleSettings, mix_steps, stylize_video
from nst import stylize as stylize_here
from nst.variations import paint_together as paint_together_here
from nst.video.clips import Clip

PRESENT = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # the Space's machine sets it
if PRESENT:
    import spaces  # refuses to be imported once CUDA is initialized, so before anything uses a GPU

# The times below are not measured on ZeroGPU. They are several times the computed times of the slowest preset.
# Asking for too much time only costs a place in the queue; too little ends the run early, with the picture so far.
SECONDS_TO_START = 20
SECONDS_PER_STEP = 0.02
SECONDS_PER_PIXEL = 2e-7  # of one step
FRAME_SHARE = 0.5  # of a picture's time, for each frame of a clip but the first
MAX_SECONDS = 120  # the time that every visitor may ask for
MARGIN_SECONDS = 3  # before the machine would end the run without its picture


def stylize(
    content: Image.Image,
    style: Any,
    settings: StyleSettings,
    *,
    preview_every: float,
    should_stop: Callable[[], bool],
    resume: RunState | None = None,
) -> Iterator[Step]:
    """Yield the steps of `nst.stylize`, on ZeroGPU's GPU where there is one.

    There `should_stop` cannot reach the run. It is ended from outside, and its latest preview becomes the result. The
    state of that last step is the preview alone: resuming from it begins anew at this picture and step count.
    """
    if not PRESENT:
        yield from stylize_here(
            content, style, settings, preview_every=preview_every, should_stop=should_stop, resume=resume
        )
        return
    # The run paints at full strength, so that a preview that becomes the result can be continued.
    steps = _stylize_elsewhere(content, style, replace(settings, strength=1.0), preview_every, should_stop, resume)
    yield from steps if settings.strength == 1 else mix_steps(steps, content, settings.strength)


def _stylize_elsewhere(
    content: Image.Image,
    style: Any,
    settings: StyleSettings,
    preview_every: float,
    should_stop: Callable[[], bool],
    resume: RunState | None,
) -> Iterator[Step]:
    """Yield the steps from ZeroGPU's GPU, and end with the latest preview once `should_stop` returns True."""
    preview = None  # the latest step with a picture
    with closing(_stylize_on_gpu(content, style, settings, preview_every, resume)) as steps:
        for step in steps:
            preview = step if step.image is not None else preview
            if step.state is None and preview is not None and should_stop():
                state = RunState.at_picture(preview.image, preview.step, len(settings.stages(content.size)) - 1)
                yield replace(preview, seconds=step.seconds, seconds_left=0.0, state=state)
                return
            yield step


def paint_together(
    content: Image.Image,
    style: Any,
    settings: list[StyleSettings],
    *,
    preview_every: float,
    should_stop: Callable[[], bool],
) -> Iterator[list[Step | None]]:
    """Yield what `nst.variations.paint_together` does, on ZeroGPU's GPU where there is one, until `should_stop`."""
    if not PRESENT:
        yield from paint_together_here(content, style, settings, preview_every=preview_every, should_stop=should_stop)
        return
    yield from _until(should_stop, _paint_together_on_gpu(content, style, settings, preview_every))


def paint_video(
    clip: Clip, frames: int, style: Any, settings: StyleSettings, *, should_stop: Callable[[], bool]
) -> Iterator[Image.Image]:
    """Yield what `nst.stylize_video` paints of the clip's first frames, on ZeroGPU's GPU where there is one.

    frames: how many at most. There `should_stop` ends the run after a frame.
    """
    if not PRESENT:
        yield from _paint_frames(clip, frames, style, settings, should_stop)
        return
    yield from _until(should_stop, _paint_video_on_gpu(clip, frames, style, settings))


def _until(should_stop: Callable[[], bool], items: Generator[Any, None, None]) -> Iterator[Any]:
    """Yield the items, up to the first after which `should_stop` returns True; then close the generator."""
    with closing(items):
        for item in items:
            yield item
            if should_stop():
                return


def _paint_frames(
    clip: Clip, frames: int, style: Any, settings: StyleSettings, should_stop: Callable[[], bool]
) -> Iterator[Image.Image]:
    yield from stylize_video(itertools.islice(clip.frames(0, settings.size), frames), style, settings, should_stop)


def seconds_needed(
    content: Image.Image, style: Any, settings: StyleSettings, preview_every: float, resume: RunState | None
) -> int:
    """Return the seconds for which a run asks for the GPU, by its settings: it has no GPU to measure on beforehand."""
    steps_done = resume.step if resume else 0
    steps = max(1, settings.steps - steps_done)
    aspect = min(content.size) / max(content.size) if settings.keep_aspect else 1
    pixels = settings.size**2 * aspect
    seconds = SECONDS_TO_START + steps * (SECONDS_PER_STEP + pixels * SECONDS_PER_PIXEL)
    return min(MAX_SECONDS, round(seconds + 0.5))


def _stylize_within_seconds(
    content: Image.Image, style: Any, settings: StyleSettings, preview_every: float, resume: RunState | None
) -> Iterator[Step]:
    """Yield the steps of `nst.stylize`, and end with the picture so far before the lent time is over."""
    is_over_time = False
    limit = seconds_needed(content, style, settings, preview_every, resume) - MARGIN_SECONDS
    steps = stylize_here(
        content, style, settings, preview_every=preview_every, should_stop=lambda: is_over_time, resume=resume
    )
    for step in steps:
        is_over_time = step.seconds >= limit
        yield step


def seconds_needed_together(
    content: Image.Image, style: Any, settings: list[StyleSettings], preview_every: float
) -> int:
    """Return the seconds for which the runs of `paint_together` ask for the GPU together."""
    return min(MAX_SECONDS, sum(seconds_needed(content, style, item, preview_every, None) for item in settings))


def _paint_together_within_seconds(
    content: Image.Image, style: Any, settings: list[StyleSettings], preview_every: float
) -> Iterator[list[Step | None]]:
    yield from paint_together_here(content, style, settings, preview_every=preview_every)


def seconds_needed_for_video(clip: Clip, frames: int, style: Any, settings: StyleSettings) -> int:
    """Return the seconds for which the run of `paint_video` asks for the GPU."""
    picture = seconds_needed(Image.new("RGB", clip.size), style, settings, 0, None) - SECONDS_TO_START
    frames = min(frames, clip.frame_count or frames)
    return min(MAX_SECONDS, round(SECONDS_TO_START + picture * (1 + FRAME_SHARE * (frames - 1)) + 0.5))


def _paint_video_within_seconds(clip: Clip, frames: int, style: Any, settings: StyleSettings) -> Iterator[Image.Image]:
    """Yield the painted frames, and end with the one that is being painted before the lent time is over."""
    end = time.monotonic() + seconds_needed_for_video(clip, frames, style, settings) - MARGIN_SECONDS
    yield from _paint_frames(clip, frames, style, settings, lambda: time.monotonic() >= end)


if PRESENT:
    _paint_video_on_gpu = spaces.GPU(duration=seconds_needed_for_video)(_paint_video_within_seconds)
    _paint_together_on_gpu = spaces.GPU(duration=seconds_needed_together)(_paint_together_within_seconds)
    _stylize_on_gpu = spaces.GPU(duration=seconds_needed)(_stylize_within_seconds)
