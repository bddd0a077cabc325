"""The saved styles in the host's folder: a menu beside the painting, whose choice takes the painting's place."""

from pathlib import Path

import gradio as gr

from nst import SavedStyle, load_style
from nst.saved_style import SUFFIX

NO_STYLE = ("None: the painting", "")


def find_styles(folder: str) -> dict[str, Path]:
    """Return the saved styles in a folder by name, in order of names; none for an empty text."""
    files = sorted(Path(folder).glob(f"*{SUFFIX}")) if folder else []
    return {path.stem: path for path in files}


def style_menu(folder: str) -> gr.Dropdown:
    """Lay out the menu of saved styles. It is hidden if there are none."""
    names = list(find_styles(folder))
    return gr.Dropdown([NO_STYLE, *names], value="", label="Saved style", info="Takes the place of the painting.",
                       visible=bool(names), elem_id="saved_style")  # fmt: skip


def chosen_style(name: str | None, folder: str) -> SavedStyle | None:
    """Return the saved style that was chosen, or None. Raises StyleTransferError if its file cannot be used."""
    path = find_styles(folder).get(name or "")
    return load_style(path) if path else None
