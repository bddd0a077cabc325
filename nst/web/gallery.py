"""This visit's pictures: looked at again, and painted on from."""

from typing import Any

import gradio as gr

from nst import PaintingRecipe, StyleTransferError
from nst.web import words
from nst.web.controls import CONTROLS, shown
from nst.web.errors import readable_errors
from nst.web.visit import Kept, Visit


def gallery() -> gr.Gallery:
    return gr.Gallery(
        label="Pictures of this visit", columns=6, height=230, object_fit="cover", allow_preview=False,
        interactive=False, buttons=[], elem_id="gallery", show_label=False, fit_columns=False,
    )  # fmt: skip


def pictures(visit: Visit) -> list[tuple[str, str]]:
    return [(str(one.shown), one.caption()) for one in visit.still_there()]


def picture_at(visit: Visit, index: int | None) -> Kept:
    """Raises StyleTransferError if none is chosen, or it has been deleted."""
    kept = visit.still_there()
    if index is None or index >= len(kept):
        raise StyleTransferError("Choose a picture of this visit first; after an hour they are deleted.")
    return kept[index]


def chosen_event(visit: Visit, event: gr.SelectData) -> tuple:
    """Which was clicked, how it was painted, and its file."""
    with readable_errors():
        kept = picture_at(visit, event.index)
    return event.index, description(kept.recipe), gr.DownloadButton(value=str(kept.path), interactive=True)


def latest_event(visit: Visit) -> str | None:
    """The latest result's file, to be the next photo."""
    with readable_errors():
        visit.finished_run()
        return str(picture_at(visit, 0).path)


def chosen_as_photo_event(visit: Visit, index: int | None) -> str:
    with readable_errors():
        return str(picture_at(visit, index).path)


def description(recipe: PaintingRecipe) -> str:
    """A recipe's settings in Markdown, by the names of the controls."""
    settings = recipe.settings
    parts = [f"{one.label} **{_text(shown(getattr(settings, one.field)))}**" for one in CONTROLS]
    end = words.afterwards(recipe)
    return f"{recipe.steps_done} of {settings.steps} steps were done. " + " · ".join(parts) + (end and f". {end}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)
