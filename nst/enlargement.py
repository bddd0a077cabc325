"""Enlarge a picture: paint it on at twice its size, from the state of its run, so that it keeps its strokes.

    larger = enlarged(settings, step.state, photo.size)
    for step in stylize(photo, style, larger, resume=step.state):
        ...

The picture of a run that was done to its end becomes the one that the larger settings paint from their beginning.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from nst.errors import StyleTransferError
from nst.settings import LARGEST, StyleSettings
from nst.stage_plan import detail_steps, seamless_side

if TYPE_CHECKING:  # it needs torch
    from nst.run_state import RunState


def enlarged(settings: StyleSettings, state: "RunState", photo_size: tuple[int, int]) -> StyleSettings:
    """Return the settings for `stylize(photo, style, enlarged(...), resume=state)`, at twice the size.

    The run gets one more stage, which adds detail in 15 % more steps. A run that was stopped before its final size is
    painted to its end first. This can be done again, with the settings and the state of the enlarged picture.

    settings, state: of the run so far. photo_size: (width, height) of its photo.

    Raises StyleTransferError if the result would be larger than any setting allows.
    """
    size = 2 * (seamless_side(settings.size) if settings.seamless else settings.size)
    if size > LARGEST:
        raise StyleTransferError(f"The picture cannot be enlarged: {LARGEST} px is the largest size.")
    stages = settings.stages(photo_size)
    steps = state.step if state.stage == len(stages) - 1 else settings.steps
    more = stages[-1].steps if stages[-1].adds_detail else detail_steps(steps)
    above = settings.detail_above if settings.detail_above < size else size // 2
    return replace(settings, size=size, steps=steps + more, detail_above=above)
