"""Rows of example pictures to click on."""

from pathlib import Path

import gradio as gr

from nst.examples import FOLDER, PAINTINGS, PHOTOS, painting_path, photo_path

PHOTO_PATHS = [photo_path(name) for name in PHOTOS]
PAINTING_PATHS = [painting_path(name) for name in PAINTINGS]


def serve_in_place() -> None:
    """Serve the pictures from the package: copies of Gradio's would be deleted together with the uploads."""
    gr.set_static_paths([FOLDER / "photos", FOLDER / "paintings", FOLDER / "network"])


def example_row(paths: list[Path], target: gr.Image, title: str, elem_id: str) -> None:
    """Lay out a row of buttons with a picture on each; a click puts the picture into `target`."""
    gr.Markdown(title, elem_classes="row_title")
    with gr.Row(elem_id=elem_id, elem_classes="examples"):
        for path in paths:
            name = path.stem.replace("_", " ")
            gr.Button(name, icon=str(path), size="sm", min_width=64, scale=0).click(
                lambda path=path: str(path), None, target,
                queue=False, show_progress="hidden", api_visibility="private",
            )  # fmt: skip
