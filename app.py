"""The web app: `python app.py` serves it on port 7860, or on GRADIO_SERVER_PORT.

Layout first, events below, one function per event. Everything about painting is in `nst`.
"""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # no calls home; read when gradio is imported

import gradio as gr

from nst import DEFAULT_PRESET, PRESETS, StyleSettings, StyleTransferError
from nst.examples import example_pairs
from nst.files import remove_older_than
from studio import words
from studio.look import CSS, THEME
from studio.network import training_curves
from studio.options import BACKBONES, KEEP_SECONDS, MAX_SIZE, RESULTS
from studio.painting import paint, readable_errors, stop
from studio.uploads import Picture, check_pictures

SLIDERS = ("size", "steps", "content_weight", "style_weight", "tv_weight")  # what a preset sets and a visitor changes
INTRODUCTION = "# Neural style transfer\nGive a photo and a painting, and watch the photo become a painting."
PRESET_INFO = "classic: the literature's recipe at 224 px · quick: a first look · balanced · fine: larger, slower"
WELCOME = "Add two pictures, or click an example pair below, then press Stylize."

# --- events -----------------------------------------------------------------------------------------------------------


def stylize_event(
    content,
    style,
    preset: str = DEFAULT_PRESET,
    size: int | None = None,
    steps: int | None = None,
    content_weight: float | None = None,
    style_weight: float | None = None,
    tv_weight: float | None = None,
    seed: int | None = None,
    backbone: str = "cifar100",
    request: gr.Request = None,
) -> Iterator[tuple[Any, Any, Any]]:
    """Paint a photo in the style of a picture; yields previews while it works and ends with a lossless PNG.

    Args:
        content: the photo, whose shapes are kept.
        style: the painting, whose colours and strokes are taken.
        preset: classic, quick, balanced or fine; what is left out below comes from it.
        size: long side of the result in pixels, 32 to 1024.
        steps: optimiser steps, 1 to 10000; more is closer to the style and takes longer.
        content_weight: how much the photo's structure counts, 0 or more.
        style_weight: how much the painting's texture and colour count, 0 or more.
        tv_weight: how much smoothness counts, 0 or more.
        seed: of the random start, where the preset has one.
        backbone: cifar100 (bundled) or imagenet (torchvision's weights, downloaded once).

    Returns:
        The latest picture (JPEG), a line of status, and at the end the result as a PNG file.
    """
    session = request.session_hash if request else None
    with readable_errors():
        if content is None or style is None:
            raise StyleTransferError("Add a photo and a painting first.")
        given = {"size": size, "steps": steps, "content_weight": content_weight, "style_weight": style_weight}
        given |= {"tv_weight": tv_weight, "seed": seed, "backbone": backbone}
        settings = StyleSettings.preset(preset, **{name: value for name, value in given.items() if value is not None})
        if settings.size > MAX_SIZE:
            raise StyleTransferError(f"size must be at most {MAX_SIZE} here, not {settings.size}.")
        with closing(paint(session, content, style, settings)) as steps_done:
            for step in steps_done:
                if isinstance(step, str):
                    yield gr.skip(), step, gr.skip()
                elif step.image is not None and step.state is None:
                    yield step.image, words.progress(step), gr.skip()
        if isinstance(step, str):
            yield gr.skip(), "Stopped before it began.", gr.skip()
            return
        path = Path(tempfile.mkdtemp(dir=RESULTS)) / "stylized.png"
        step.image.save(path)
        yield step.image, words.ending(step), str(path)


def page_event(request: gr.Request, *inputs) -> Iterator[tuple[Any, Any, Any]]:
    """As `stylize_event`, and the download button can be pressed only when there is something to download."""
    yield gr.skip(), "Starting…", gr.DownloadButton(interactive=False)
    with closing(stylize_event(*inputs, request=request)) as results:
        for picture, status, path in results:
            yield picture, status, gr.DownloadButton(value=path, interactive=True) if isinstance(path, str) else path


def stop_event(request: gr.Request) -> None:
    """End this visitor's run after its current step and keep the picture."""
    if not stop(request.session_hash):
        gr.Info("Nothing is being painted yet.")


def preset_event(preset: str) -> list[Any]:
    """Move the sliders to where the preset has them."""
    settings = PRESETS[preset]
    return [getattr(settings, name) for name in SLIDERS]


def failed_event() -> str:
    """What the status says when a run did not end well; the message itself is shown beside it."""
    return "The run ended early: see the message, mend it and try again."


# --- layout -----------------------------------------------------------------------------------------------------------


def build() -> gr.Blocks:
    """The page and its events."""
    default = PRESETS[DEFAULT_PRESET]
    with gr.Blocks(title="Neural style transfer") as demo:
        gr.Markdown(INTRODUCTION, elem_id="title")
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                with gr.Row():
                    upload = {"sources": ["upload", "clipboard"], "height": 250, "buttons": []}
                    content = Picture(label="Photo", elem_id="content", alt_text="The photo to paint", **upload)
                    style = Picture(label="Painting", elem_id="style", alt_text="The painting to learn from", **upload)
                preset = gr.Radio(
                    list(PRESETS), value=DEFAULT_PRESET, label="Preset", info=PRESET_INFO, elem_id="preset"
                )
                with gr.Row(equal_height=True):
                    go = gr.Button("Stylize", variant="primary", elem_id="stylize", scale=3)
                    halt = gr.Button("Stop", variant="stop", elem_id="stop", scale=1)
                with gr.Accordion("Advanced", open=False):
                    size = gr.Slider(
                        64, MAX_SIZE, default.size, step=32, label="Size", elem_id="size",
                        info="Long side of the result in pixels; twice the size takes four times as long.",
                    )
                    steps = gr.Slider(
                        10, 1000, default.steps, step=5, label="Steps", elem_id="steps",
                        info="More steps bring the picture closer to the painting.",
                    )
                    content_weight = gr.Slider(
                        0, 20, default.content_weight, step=0.1, label="Content weight", elem_id="content_weight",
                        info="Higher keeps more of the photo's shapes.",
                    )
                    style_weight = gr.Slider(
                        0, 2000, default.style_weight, step=1, label="Style weight", elem_id="style_weight",
                        info="Higher gives stronger strokes and colours.",
                    )
                    tv_weight = gr.Slider(
                        0, 200, default.tv_weight, step=1, label="Smoothness", elem_id="tv_weight",
                        info="Higher removes fine grain (total variation).",
                    )
                    seed = gr.Slider(
                        0, 9999, 0, step=1, label="Seed", elem_id="seed",
                        info="Repeats a run exactly; matters where the start is noise.",
                    )
                    backbone = gr.Dropdown(
                        BACKBONES, value="cifar100", label="Backbone", elem_id="backbone",
                        info="The VGG19 that looks at the pictures.",
                    )
            with gr.Column(scale=6, min_width=320):
                output = gr.Image(
                    label="Result", format="jpeg", interactive=False, height=500, elem_id="output",
                    buttons=["fullscreen"], alt_text="The painted photo",
                )
                status = gr.Textbox(
                    label="Status", interactive=False, elem_id="status", lines=2, max_lines=2, value=WELCOME
                )
                download = gr.DownloadButton("Download PNG", interactive=False, elem_id="download")
        with gr.Column(elem_id="examples"):
            gr.Examples(example_pairs(), inputs=[content, style], cache_examples=False, label="Examples: click a pair")

        training_curves()

        sliders = [size, steps, content_weight, style_weight, tv_weight]  # in the order of SLIDERS
        visible = [content, style, preset, *sliders, seed, backbone]
        outputs = [output, status, download]
        running = {"concurrency_id": "painting", "concurrency_limit": 1}
        running |= {"show_progress": "minimal", "show_progress_on": [status]}
        run = go.click(page_event, visible, outputs, validator=check_pictures, api_visibility="private", **running)
        run.failure(failed_event, None, status, queue=False, api_visibility="private", show_progress="hidden")
        halt.click(stop_event, None, None, queue=False, api_visibility="private", show_progress="hidden")
        preset.input(preset_event, preset, sliders, queue=False, api_visibility="private", show_progress="hidden")

        # Programs have inputs of their own: a slider always has a value, and would override the preset asked for.
        unset = [gr.Number(label=name, visible=False) for name in (*SLIDERS, "seed")]
        api = gr.Button(visible=False)
        api_inputs = [content, style, preset, *unset, backbone]
        api.click(stylize_event, api_inputs, outputs, api_name="stylize", **running)
    return demo.queue(max_size=20)


def clean_up_forever() -> None:
    """Remove old uploads, previews and results; Gradio's own cleaner stops when a run is streaming."""
    uploads = os.environ.get("GRADIO_TEMP_DIR") or str(Path(tempfile.gettempdir()) / "gradio")
    while True:
        for folder in (uploads, RESULTS):
            remove_older_than(folder, KEEP_SECONDS)
        time.sleep(KEEP_SECONDS / 12)


if __name__ == "__main__":
    threading.Thread(target=clean_up_forever, daemon=True).start()
    port = int(os.environ.get("GRADIO_SERVER_PORT", 7860))
    try:
        build().launch(
            server_port=port,
            theme=THEME,
            css=CSS,
            allowed_paths=[RESULTS],
            max_file_size="40mb",
            run_history=False,
            footer_links=["api"],
        )
    except OSError as error:
        sys.exit(f"app.py: port {port} cannot be used ({error}).".splitlines()[0])
