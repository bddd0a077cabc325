"""Hugging Face's ZeroGPU: the run inside `spaces.GPU`, in a process of its own; the visitor's Stop stays outside.

Elsewhere this is `nst.stylize` itself. What crosses between the processes is pickled: pictures, settings and a RunState
go in, steps come out.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

from PIL import Image

from nst import RunState, Step, StyleSettings
from nst import stylize as plain

PRESENT = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # set by the machine
if PRESENT:
    import spaces  # which has to come before anything that talks to a GPU

# Not measured on ZeroGPU: from the arithmetic of the deepest preset, several times over. A time asked for too long only
# costs a place in the queue; one too short ends the run with the picture so far.
SECONDS_TO_START = 20
SECONDS_PER_STEP = 0.02
SECONDS_PER_PIXEL = 2e-7
LONGEST = 120  # seconds; what every visitor may ask for
MARGIN = 3  # seconds before the machine would end the run without its picture


def stylize(
    content: Image.Image,
    style: Any,
    settings: StyleSettings,
    *,
    preview_every: float,
    should_stop: Callable[[], bool],
    resume: RunState | None = None,
) -> Iterator[Step]:
    """`nst.stylize`. On ZeroGPU no flag reaches the run: a stop ends it from outside, and its latest preview is kept.

    The state of such a step is that preview: to resume from it is to begin anew at that picture and step count.
    """
    if not PRESENT:
        yield from plain(content, style, settings, preview_every=preview_every, should_stop=should_stop, resume=resume)
        return
    latest = None
    with closing(_on_gpu(content, style, settings, preview_every, resume)) as steps:
        for step in steps:
            latest = step if step.image is not None else latest
            if step.state is None and latest is not None and should_stop():
                state = RunState.at_picture(latest.image, latest.step, len(settings.stages(content.size)) - 1)
                yield replace(latest, seconds=step.seconds, seconds_left=0.0, state=state)
                return
            yield step


def seconds_needed(
    content: Image.Image, style: Any, settings: StyleSettings, preview_every: float, resume: RunState | None
) -> int:
    """What a run asks of the machine, from its settings alone: there is no GPU to measure on before it begins."""
    done = resume.step if resume else 0
    steps = max(1, settings.steps - done)
    pixels = settings.size**2 if not settings.keep_aspect else settings.size**2 * min(content.size) / max(content.size)
    seconds = SECONDS_TO_START + steps * (SECONDS_PER_STEP + pixels * SECONDS_PER_PIXEL)
    return min(LONGEST, round(seconds + 0.5))


def _run(
    content: Image.Image, style: Any, settings: StyleSettings, preview_every: float, resume: RunState | None
) -> Iterator[Step]:
    late = False
    limit = seconds_needed(content, style, settings, preview_every, resume) - MARGIN
    steps = plain(content, style, settings, preview_every=preview_every, should_stop=lambda: late, resume=resume)
    for step in steps:
        late = step.seconds >= limit
        yield step


_on_gpu = spaces.GPU(duration=seconds_needed)(_run) if PRESENT else _run
