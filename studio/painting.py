"""Who may paint when: one run at a time, stop flags by visitor, and errors that visitors can read."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from PIL import Image

from nst import Step, StyleSettings, StyleTransferError, estimate, load_backbone, stylize
from studio.words import duration

PREVIEW_SECONDS = 0.25  # a picture costs the browser a request; the eye does not need more

# A cancelled run gives its place in Gradio's queue back before its last step has ended: hence a slot of our own.
_slot = threading.Semaphore(1)
_stop_flags: dict[str, threading.Event] = {}  # by session
_log = logging.getLogger("app")


def paint(
    session: str | None, content: Image.Image, style: Any, settings: StyleSettings, **options: Any
) -> Iterator[Step | str]:
    """`nst.stylize` in turn: its steps, and before them sentences about what is being waited for.

    Without a step at the end it was stopped before its turn. Raises StyleTransferError as `stylize` does.
    """
    yield from in_turn(session, _painting, content, style, settings, **options)


def _painting(content: Image.Image, style: Any, settings: StyleSettings, **options: Any) -> Iterator[Step | str]:
    about = estimate(content.size, settings, load_backbone(settings.backbone)).seconds
    yield f"Starting: about {duration(about)}"
    yield from stylize(content, style, settings, preview_every=PREVIEW_SECONDS, **options)


def in_turn(session: str | None, run: Callable[..., Iterator[Any]], *args: Any, **options: Any) -> Iterator[Any]:
    """Wait for the slot, then yield what `run(*args, should_stop=..., **options)` yields; `stop` ends it.

    While another's run has the slot, a sentence that says so is yielded every second.
    """
    flag = threading.Event()
    session = session or str(id(flag))
    _stop_flags[session] = flag
    holding = False
    try:
        while not (holding := _slot.acquire(timeout=1)):
            yield "Waiting for the painting before yours to end…"
            if flag.is_set():
                return
        yield from run(*args, should_stop=flag.is_set, **options)
    finally:  # also on Stop, a closed tab or a lost connection; Gradio runs it on its event loop: keep it short
        if holding:
            _slot.release()
        if _stop_flags.get(session) is flag:
            del _stop_flags[session]


def stop(session: str | None) -> bool:
    """End that visitor's run after its current step; False if there is none."""
    if flag := _stop_flags.get(session or ""):
        flag.set()
    return flag is not None


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
