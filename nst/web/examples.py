"""Pictures to try, in rows to click on."""

from pathlib import Path

import gradio as gr

from nst.examples import FOLDER, PAINTINGS, PHOTOS, painting_path, photo_path

PHOTO_PATHS = [str(photo_path(name)) for name in PHOTOS]
PAINTING_PATHS = [str(painting_path(name)) for name in PAINTINGS]


def serve_in_place() -> None:
    """Show the files from where they lie: Gradio's copies of them would be cleaned up with the uploads."""
    gr.set_static_paths([FOLDER / "photos", FOLDER / "paintings"])


def example_row(paths: list[str], target: gr.Image, title: str, elem_id: str) -> None:
    """Lay out a row of buttons with a picture on each; a click gives it to `target`."""
    gr.Markdown(title, elem_classes="row_title")
    with gr.Row(elem_id=elem_id, elem_classes="examples"):
        for path in paths:
            name = Path(path).stem.replace("_", " ")
            gr.Button(name, icon=path, size="sm", min_width=64, scale=0).click(
                lambda path=path: path, None, target, queue=False, show_progress="hidden", api_visibility="private"
            )
