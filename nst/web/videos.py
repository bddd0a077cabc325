"""Paint clips as films, for the page and for the API: which clips are taken, and the steps until the film is saved."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from nst import StyleSettings, StyleTransferError
from nst.video.clips import Clip
from nst.video.encoding import VideoWriter
from nst.web import zerogpu
from nst.web.options import Options
from nst.web.run_queue import RunQueue, TimeLimit
from nst.web.status import duration
from nst.web.storage import new_result

RATES = (5, 30)  # frames a second that visitors may choose
USUAL_RATE = 12  # enough for paint that moves; half of a clip's own rate takes half of the time
EXTRA_SECONDS = 0.5  # over the limit: phones do not stop exactly where they say


@dataclass(frozen=True)
class VideoStep:
    """A painted frame of a film.

    frame: its number, from 1, of `frames`, which is an estimate until the last step. seconds: since the start.
    path: of the film, which the last step alone has. was_stopped: the film ends before its clip.
    """

    image: Image.Image
    frame: int
    frames: int
    seconds: float
    seconds_left: float = 0.0
    path: Path | None = None
    was_stopped: bool = False


class VideoRuns:
    """The runs that paint clips."""

    def __init__(self, options: Options, queue: RunQueue):
        self._options, self._queue = options, queue

    def open(self, path: str, rate: float = USUAL_RATE) -> Clip:
        """Return the clip in a file, with at most `rate` frames a second.

        Raises StyleTransferError for a rate out of `RATES`, a file that is no clip, and one that is too long.
        """
        low, high = RATES
        if not low <= rate <= high:
            raise StyleTransferError(f"Frames a second must be from {low} to {high}, not {rate:g}.")
        clip = Clip(path)
        clip = Clip(path, rate) if clip.rate > rate else clip
        limit, seconds = self._options.clip_seconds, float((clip.frame_count or 0) / clip.rate)
        if seconds > limit + EXTRA_SECONDS:
            raise StyleTransferError(f"{clip.name}: {duration(seconds)} long; here at most {limit} s: cut it first.")
        return clip

    def paint(self, session: str | None, clip: Clip, style: Any, settings: StyleSettings) -> Iterator[VideoStep | str]:
        """Yield a step for every painted frame, and before the first one sentences. The last step has the film.

        The last step comes early when `RunQueue.stop` is called for this session, or at the host's time limit. If the
        last item is a sentence, the run was stopped before it began.

        Raises StyleTransferError as `nst.stylize_video` and `RunQueue.run_when_free` do.
        """
        yield from self._queue.run_when_free(session, self._paint_now, clip, style, settings)

    def _paint_now(
        self, clip: Clip, style: Any, settings: StyleSettings, *, should_stop: Callable[[], bool]
    ) -> Iterator[VideoStep | str]:
        yield "Painting the first frame, which takes longer than the others…"
        limit, started = TimeLimit(self._options.time_limit, should_stop), time.monotonic()

        def should_end() -> bool:  # asked within the first frame too
            limit.note(time.monotonic() - started)
            return limit.should_stop()

        most = math.ceil((self._options.clip_seconds + EXTRA_SECONDS) * clip.rate)
        frames, step, first_seconds = min(most, clip.frame_count or most), None, 0.0
        with VideoWriter(clip, new_result("film.mp4")) as writer:
            with closing(zerogpu.paint_video(clip, most, style, settings, should_stop=should_end)) as pictures:
                for number, picture in enumerate(pictures, 1):
                    writer.add(picture)
                    seconds = time.monotonic() - started
                    first_seconds = seconds if step is None else first_seconds
                    pace = (seconds - first_seconds) / max(1, number - 1)
                    step = VideoStep(picture, number, max(frames, number), seconds, pace * max(0, frames - number))
                    yield step
            was_stopped = should_end()
            yield replace(
                step,
                path=writer.save(),
                frames=step.frames if was_stopped else step.frame,
                seconds=time.monotonic() - started,
                was_stopped=was_stopped,
            )


def video_line(step: VideoStep) -> str:
    """Return the status of a film that is being painted."""
    left = f" · {duration(step.seconds_left)} left" if step.frame > 1 else ""
    return f"Frame {step.frame} of {step.frames}{left}"


def video_ending_line(step: VideoStep, time_limit: int) -> str:
    """Return the status after the last frame. time_limit: the host's limit of a run, in seconds."""
    end = f"Stopped at frame {step.frame} of {step.frames}" if step.was_stopped else "Done"
    if step.was_stopped and step.seconds >= time_limit:
        end += f", by the limit of {duration(time_limit)} a run"
    size = f"{step.image.width} x {step.image.height} px"
    frames = f"{step.frame} frame{'s' if step.frame > 1 else ''}"
    return f"{end} · {frames} · {duration(step.seconds)} · {size}"
