"""Errors that visitors can read."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from nst import StyleTransferError

_log = logging.getLogger("app")


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn every exception into a gr.Error of one line, which Gradio shows to the visitor.

    A StyleTransferError keeps its message: the visitor can correct its cause. Any other exception goes to the log, and
    the visitor is asked to try again.
    """
    try:
        yield
    except StyleTransferError as error:
        raise gr.Error(str(error), print_exception=False) from None
    except Exception:
        _log.exception("a run failed")
        raise gr.Error("Something went wrong while painting. Please try again.", print_exception=False) from None
