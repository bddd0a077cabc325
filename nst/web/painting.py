"""Who may paint when: so many runs at once, stop flags by visitor, and errors that visitors can read."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import gradio as gr
from PIL import Image

from nst import Step, StyleSettings, StyleTransferError, estimate, load_backbone
from nst.web import zerogpu
from nst.web.options import OPTIONS
from nst.web.words import duration

PREVIEW_SECONDS = 0.25  # a picture costs the browser a request; the eye does not need more

# A cancelled run gives its place in Gradio's queue back before its last step has ended: hence slots of our own.
_slots = threading.Condition()
_taken = 0
_ending = False
_stop_flags: dict[str, threading.Event] = {}  # by session
_log = logging.getLogger("app")


def paint(
    session: str | None, content: Image.Image, style: Any, settings: StyleSettings, **options: Any
) -> Iterator[Step | str]:
    """`nst.stylize` in turn: its steps, and before them sentences about what is being waited for.

    The host's time limit makes a step the last, as `stop` does. Without a step at the end it was stopped before its
    turn. Raises StyleTransferError as `stylize` does.
    """
    yield from in_turn(session, _painting, content, style, settings, **options)


def _painting(
    content: Image.Image, style: Any, settings: StyleSettings, *, should_stop: Callable[[], bool], **options: Any
) -> Iterator[Step | str]:
    if not zerogpu.PRESENT:  # the time measured here would be the processor's
        yield f"Starting: about {duration(estimate(content.size, settings, load_backbone(settings.backbone)).seconds)}"
    late = False
    steps = zerogpu.stylize(
        content, style, settings,
        preview_every=PREVIEW_SECONDS, should_stop=lambda: late or should_stop(), **options,
    )  # fmt: skip
    with closing(steps):
        for step in steps:
            late = step.seconds >= OPTIONS.time_limit
            yield step


def in_turn(session: str | None, run: Callable[..., Iterator[Any]], *args: Any, **options: Any) -> Iterator[Any]:
    """Wait for a slot, then yield what `run(*args, should_stop=..., **options)` yields; `stop` ends it.

    While others' runs have the slots, a sentence that says so is yielded every second. Raises StyleTransferError when
    the server is about to end.
    """
    global _taken
    flag = threading.Event()
    session = session or str(id(flag))
    _stop_flags[session] = flag
    holding = False
    try:
        while not holding:
            if _ending:
                raise StyleTransferError("The server is being restarted: try again in a minute.")
            with _slots:
                if holding := _slots.wait_for(_one_is_free, timeout=1):
                    _taken += 1
            if not holding:
                yield "Waiting for the painting before yours to end…"
                if flag.is_set():
                    return
        yield from run(*args, should_stop=flag.is_set, **options)
    finally:  # also on Stop, a closed tab or a lost connection; Gradio runs it on its event loop: keep it short
        if holding:
            with _slots:
                _taken -= 1
                _slots.notify()
        if _stop_flags.get(session) is flag:
            del _stop_flags[session]


def _one_is_free() -> bool:
    return _taken < OPTIONS.concurrency


def stop(session: str | None) -> bool:
    """End that visitor's run after its current step; False if there is none."""
    if flag := _stop_flags.get(session or ""):
        flag.set()
    return flag is not None


def stop_all(seconds: float) -> None:
    """Begin no more runs, end every one after its current step, and wait for that so many seconds at most."""
    global _ending
    _ending = True
    for flag in list(_stop_flags.values()):
        flag.set()
    with _slots:
        _slots.wait_for(lambda: not _taken, timeout=seconds)


@contextmanager
def readable_errors() -> Iterator[None]:
    """What can be mended is said in one line; anything else goes to the log, and the visitor is told to try again."""
    try:
        yield
    except StyleTransferError as error:
        raise gr.Error(str(error), print_exception=False) from None
    except Exception:
        _log.exception("a run failed")
        raise gr.Error("Something went wrong while painting. Please try again.", print_exception=False) from None
