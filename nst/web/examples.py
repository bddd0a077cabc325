"""Rows of example pictures to click on."""

from pathlib import Path

import gradio as gr

from nst.examples import CLIPS, FOLDER, PAINTINGS, PHOTOS, clip_path, painting_path, photo_path

CLIP_PATHS = [clip_path(name) for name in CLIPS]
PHOTO_PATHS = [photo_path(name) for name in PHOTOS]
PAINTING_PATHS = [painting_path(name) for name in PAINTINGS]


def serve_in_place() -> None:
    """Serve the pictures from the package: copies of Gradio's would be deleted together with the uploads."""
    gr.set_static_paths([FOLDER / kind for kind in ("photos", "paintings", "clips", "network")])


def example_row(
    paths: list[Path], target: gr.Image | gr.Video, title: str, elem_id: str, icons: list[Path] | None = None
) -> None:
    """Lay out a row of buttons; a click puts the file into `target`.

    icons: the pictures on the buttons, by default the files themselves.
    """
    gr.Markdown(title, elem_classes="row_title")
    with gr.Row(elem_id=elem_id, elem_classes="examples"):
        for path, icon in zip(paths, icons or paths, strict=True):
            name = path.stem.replace("_", " ")
            gr.Button(name, icon=str(icon), size="sm", min_width=64, scale=0).click(
                lambda path=path: str(path), None, target,
                queue=False, show_progress="hidden", api_visibility="private",
            )  # fmt: skip
