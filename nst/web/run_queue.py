"""The queue of runs: a limited number run at once, each with a stop flag that belongs to its visitor's session."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from PIL import Image

from nst import Step, StyleSettings, StyleTransferError, estimate, load_backbone
from nst.web import zerogpu
from nst.web.options import Options
from nst.web.status import duration

PREVIEW_SECONDS = 0.25  # between two previews: each costs the browser a request, and the eye does not need more
TOGETHER_SECONDS = 0.5  # the same for four pictures beside each other
NOTICE_SECONDS = 1  # between two sentences about the wait


class RunQueue:
    """The runs of all visitors: at most `options.concurrency` paint at once, the others wait.

    Gradio's own queue is not enough: it gives the place of a cancelled run to the next one before the last step of the
    cancelled run has ended. So this class has slots of its own.
    """

    def __init__(self, options: Options):
        self._options = options
        self._slots = threading.Condition()
        self._running = 0  # runs that hold a slot
        self._is_closed = False
        self._stop_flags: dict[str, threading.Event] = {}  # by session, of waiting and painting runs

    def paint(
        self, session: str | None, content: Image.Image, style: Any, settings: StyleSettings, **options: Any
    ) -> Iterator[Step | str]:
        """Yield the steps of `nst.stylize` once a slot is free, and before them sentences about the wait.

        The last step has the result. It comes early when `stop` is called for this session, or when the run reaches
        the host's time limit. If the last item is a sentence, the run was stopped before it began.

        Raises StyleTransferError as `nst.stylize` and `run_when_free` do.
        """
        yield from self.run_when_free(session, self._paint_now, content, style, settings, **options)

    def paint_together(
        self, session: str | None, content: Image.Image, style: Any, settings: list[StyleSettings]
    ) -> Iterator[list[Step | None] | str]:
        """Yield what `nst.variations.paint_together` does once a slot is free, and sentences before; see `paint`."""
        yield from self.run_when_free(session, self._paint_together_now, content, style, settings)

    def run_when_free(
        self, session: str | None, function: Callable[..., Iterator[Any]], *args: Any, **options: Any
    ) -> Iterator[Any]:
        """Wait for a free slot, then yield everything that `function(*args, should_stop=..., **options)` yields.

        While other runs hold all slots, yield a sentence that says so, every `NOTICE_SECONDS`. `stop(session)` ends the
        wait, and makes `should_stop()` true. Without a session nobody can stop the run.

        Raises StyleTransferError when the server is about to end.
        """
        stop_flag = threading.Event()
        session = session or str(id(stop_flag))
        self._stop_flags[session] = stop_flag
        has_slot = False
        try:
            while not has_slot:
                if self._is_closed:
                    raise StyleTransferError("The server is being restarted: try again in a minute.")
                with self._slots:
                    has_slot = self._slots.wait_for(self._has_free_slot, timeout=NOTICE_SECONDS)
                    if has_slot:
                        self._running += 1
                if not has_slot:
                    yield "Waiting: another visitor's run has to end first…"
                    if stop_flag.is_set():
                        return
            yield from function(*args, should_stop=stop_flag.is_set, **options)
        finally:  # also after Stop, a closed tab or a lost connection; Gradio runs it on its event loop: keep it short
            if has_slot:
                with self._slots:
                    self._running -= 1
                    self._slots.notify_all()  # runs that wait, and `stop_all`
            if self._stop_flags.get(session) is stop_flag:
                del self._stop_flags[session]

    def stop(self, session: str | None) -> bool:
        """End the run of this session after its current step. Return False if it has none."""
        stop_flag = self._stop_flags.get(session or "")
        if stop_flag is not None:
            stop_flag.set()
        return stop_flag is not None

    def stop_all(self, seconds: float) -> None:
        """Let no more runs begin, end every run after its current step, and wait at most `seconds` for the ends."""
        self._is_closed = True
        for stop_flag in list(self._stop_flags.values()):
            stop_flag.set()
        with self._slots:
            self._slots.wait_for(lambda: self._running == 0, timeout=seconds)

    def _has_free_slot(self) -> bool:
        return self._running < self._options.concurrency and not self._is_closed

    def _paint_now(
        self,
        content: Image.Image,
        style: Any,
        settings: StyleSettings,
        *,
        should_stop: Callable[[], bool],
        **options: Any,
    ) -> Iterator[Step | str]:
        if not zerogpu.PRESENT and not options.get("resume"):  # it is for this processor, and for whole runs
            seconds = estimate(content.size, settings, load_backbone(settings.backbone)).seconds
            yield f"Starting: about {duration(seconds)}"
        limit = TimeLimit(self._options.time_limit, should_stop)
        steps = zerogpu.stylize(
            content, style, settings, preview_every=PREVIEW_SECONDS, should_stop=limit.should_stop, **options
        )
        with closing(steps):
            for step in steps:
                limit.note(step.seconds)
                yield step

    def _paint_together_now(
        self, content: Image.Image, style: Any, settings: list[StyleSettings], *, should_stop: Callable[[], bool]
    ) -> Iterator[list[Step | None]]:
        """Yield the latest steps whenever one of them has a new picture, and at the end."""
        limit = TimeLimit(self._options.time_limit, should_stop)
        states = zerogpu.paint_together(
            content, style, settings, preview_every=TOGETHER_SECONDS, should_stop=limit.should_stop
        )
        shown: list[Step | None] = [None] * len(settings)  # the latest step with a picture of each
        yielded_at = 0.0
        with closing(states):
            for steps in states:
                shown = [new if new and new.image else old for new, old in zip(steps, shown, strict=True)]
                seconds = max(step.seconds for step in steps if step)
                limit.note(seconds)
                if seconds - yielded_at >= TOGETHER_SECONDS:
                    yielded_at = seconds
                    yield shown
        yield shown


class TimeLimit:
    """The host's limit of a run, in seconds, together with the visitor's Stop."""

    def __init__(self, seconds: float, should_stop: Callable[[], bool]):
        self._seconds, self._should_stop, self._is_over = seconds, should_stop, False

    def note(self, seconds: float) -> None:
        """Note how long the run has taken so far."""
        self._is_over = seconds >= self._seconds

    def should_stop(self) -> bool:
        return self._is_over or self._should_stop()
