"""The gallery: the pictures that this visitor has painted, to look at and to continue from."""

import gradio as gr

from nst import PaintingRecipe, StyleTransferError
from nst.web.controls import CONTROLS, value_text
from nst.web.errors import readable_errors
from nst.web.session import GalleryItem, Session
from nst.web.status import recipe_warning


def gallery() -> gr.Gallery:
    """Lay out the gallery."""
    return gr.Gallery(
        label="Pictures of this visit", columns=6, height=230, object_fit="cover", allow_preview=False,
        interactive=False, buttons=[], elem_id="gallery", show_label=False, fit_columns=False,
    )  # fmt: skip


def gallery_value(session: Session) -> list[tuple[str, str]]:
    """Return the thumbnails and captions of the session's pictures."""
    return [(str(item.thumbnail), item.caption()) for item in session.existing_items()]


def select_item(session: Session, event: gr.SelectData) -> tuple:
    """Return the number of the clicked picture, its description, and the button that downloads its file."""
    with readable_errors():
        item = item_at(session, event.index)
    return event.index, describe_recipe(item.recipe), gr.DownloadButton(value=str(item.path), interactive=True)


def latest_as_photo(session: Session) -> str:
    """Return the latest result's file, to be the next photo."""
    with readable_errors():
        session.latest_run()
        return str(item_at(session, 0).path)


def selected_as_photo(session: Session, index: int | None) -> str:
    """Return the selected picture's file, to be the next photo."""
    with readable_errors():
        return str(item_at(session, index).path)


def item_at(session: Session, index: int | None) -> GalleryItem:
    """Return the picture with that number. Raises StyleTransferError if none is selected, or it has been deleted."""
    items = session.existing_items()
    if index is None or index >= len(items):
        raise StyleTransferError("Choose a picture of this visit first. Pictures are deleted after an hour.")
    return items[index]


def describe_recipe(recipe: PaintingRecipe) -> str:
    """Return a recipe's settings in Markdown, with the labels of the controls."""
    settings = recipe.settings
    parts = [f"{c.label} **{value_text(getattr(settings, name))}**" for name, c in CONTROLS.items()]
    if settings.strength != 1:
        parts.insert(0, f"How much **{settings.strength:g}**")
    warning = recipe_warning(recipe)
    end = f". {warning}" if warning else ""
    return f"{recipe.steps_done} of {settings.steps} steps were done. " + " · ".join(parts) + end
