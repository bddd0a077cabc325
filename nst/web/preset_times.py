"""What each preset costs on this machine, to be shown beside its name: measured once, when a first page is open."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import gradio as gr

from nst import PRESETS, estimate, load_backbone
from nst.web import zerogpu
from nst.web.run_queue import RunQueue
from nst.web.status import duration

PHOTO_SIZE = (3, 2)  # width and height: the shape of the photo that the times are for
PAUSE_SECONDS = 0.1  # between two presets: enough for a run that waits to take the place
ASK_SECONDS = 4  # between a page's questions whether the times are known: each makes the browser busy for a moment
_log = logging.getLogger("app")


class PresetTimes:
    """The presets' names with their times. The first page that asks starts the measurement in a thread.

    The measurement of each preset takes a place in the queue of runs, because beside a run it would measure several
    times too much. A run that waits is let in before the next preset.
    """

    def __init__(self, max_size: int, queue: RunQueue):
        """max_size: the host's limit, in px, which a preset's size is bounded by."""
        self._max_size = max_size
        self._queue = queue
        self._labels: list[tuple[str, str]] = []
        self._is_known = zerogpu.PRESENT  # there the times of this machine's processor would say nothing
        self._start = threading.Lock()

    def show(self) -> tuple:
        """Return the presets' choices, and a timer that stops asking; nothing new while the times are not known."""
        if not self._is_known and self._start.acquire(blocking=False):  # never released: there is one measurement
            threading.Thread(target=self._measure, daemon=True).start()
        if not self._is_known:
            return gr.skip(), gr.skip()
        return gr.Radio(choices=self._labels) if self._labels else gr.skip(), gr.Timer(active=False)

    def _measure(self) -> None:
        try:
            labels = []
            for name in PRESETS:
                items = self._queue.run_when_free(None, self._name_time, name)
                labels += [item for item in items if isinstance(item, tuple)]
                time.sleep(PAUSE_SECONDS)
            self._labels = labels if len(labels) == len(PRESETS) else []
        except Exception:  # the page works without the times
            _log.exception("the presets' times could not be measured")
        self._is_known = True

    def _name_time(self, name: str, should_stop: Callable[[], bool]) -> Iterator[tuple[str, str]]:
        """Yield the preset's name with its time, and the preset, unless the server ends."""
        if not should_stop():
            yield f"{name} · {duration(self._seconds(name))}", name

    def _seconds(self, name: str) -> float:
        settings = PRESETS[name]
        size = min(settings.size, self._max_size)
        return estimate(PHOTO_SIZE, replace(settings, size=size), load_backbone(settings.backbone)).seconds


def connect_preset_times(demo: gr.Blocks, preset: gr.Radio, max_size: int, queue: RunQueue) -> None:
    """Show the presets' times on every page, as soon as they are known."""
    timer = gr.Timer(ASK_SECONDS)
    gr.on([demo.load, timer.tick], PresetTimes(max_size, queue).show, None, [preset, timer],
          queue=False, show_progress="hidden", api_visibility="private")  # fmt: skip
