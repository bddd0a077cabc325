"""The web app: `python app.py` serves it on port 7860, or on GRADIO_SERVER_PORT.

Layout first, events below, one function per event. Everything about painting is in `nst`.
"""

import logging
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
import pandas as pd  # comes with gradio, which draws from its tables

from nst import (
    DEFAULT_PRESET,
    PRESETS,
    StyleSettings,
    StyleTransferError,
    estimate,
    load_backbone,
    load_picture,
    stylize,
)
from nst.bundled import bundled_checkpoint
from nst.card import read_metadata, superclass_accuracy
from nst.examples import example_pairs
from nst.files import remove_older_than

MAX_SIZE = 1024  # px: what two cores paint in minutes
PREVIEW_SECONDS = 0.25  # a picture costs the browser a request; the eye does not need more
KEEP_SECONDS = 3600  # how long uploads and results stay on the server
RESULTS = tempfile.mkdtemp(prefix="nst-results-")
BACKBONES = [("CIFAR-100 (bundled)", "cifar100"), ("ImageNet (downloads 548 MB once)", "imagenet")]
SLIDERS = ("size", "steps", "content_weight", "style_weight", "tv_weight")  # what a preset sets and a visitor changes

# One painting at a time: a cancelled run gives its place in Gradio's queue back before its last step has ended.
slot = threading.Semaphore(1)
stop_flags: dict[str, threading.Event] = {}  # by session
log = logging.getLogger("app")

THEME = gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"])
INTRODUCTION = "# Neural style transfer\nGive a photo and a painting, and watch the photo become a painting."
PRESET_INFO = "classic: the literature's recipe at 224 px · quick: a first look · balanced · fine: larger, slower"
WELCOME = "Add two pictures, or click an example pair below, then press Stylize."
CSS = """
.gradio-container { max-width: 1240px !important; margin: auto; }
#title h1 { font-size: 1.9rem; margin-bottom: 0.1rem; }
#title p { opacity: 0.85; margin-top: 0; }
#output img, #content img, #style img { object-fit: contain; }
#stylize, #stop { min-height: 3rem; font-size: 1.05rem; }
#examples tbody { display: flex; flex-wrap: wrap; gap: 0.6rem; padding: 0.4rem; }
#examples thead { display: none; }
#examples tr { display: inline-flex; border: 0; border-radius: 0.6rem; background: transparent; }
#examples td { padding: 0.15rem; border: 0; }
#examples img, #examples .container { height: 84px !important; width: 84px !important; object-fit: cover; }
"""


class Picture(gr.Image):
    """An upload read by nst, which handles what Gradio's own reader clips, drops or fails on."""

    is_template = True  # Gradio's page then shows it as a gr.Image

    def preprocess(self, payload):
        if payload is None:
            return None
        try:
            if not payload.path:
                return load_picture(super().preprocess(payload))
            return load_picture(payload.path, name=Path(payload.orig_name or "The picture").name[-60:])
        except StyleTransferError as error:
            raise gr.Error(f"{self.label}: {error}", print_exception=False) from None


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
    stop = threading.Event()
    session = request.session_hash if request and request.session_hash else str(id(stop))
    stop_flags[session] = stop
    holding = False
    try:
        if content is None or style is None:
            raise StyleTransferError("Add a photo and a painting first.")
        given = {"size": size, "steps": steps, "content_weight": content_weight, "style_weight": style_weight}
        given |= {"tv_weight": tv_weight, "seed": seed, "backbone": backbone}
        settings = StyleSettings.preset(preset, **{name: value for name, value in given.items() if value is not None})
        if settings.size > MAX_SIZE:
            raise StyleTransferError(f"size must be at most {MAX_SIZE} here, not {settings.size}.")
        while not (holding := slot.acquire(timeout=1)):
            yield gr.skip(), "Waiting for the painting before yours to end…", gr.skip()
            if stop.is_set():
                yield gr.skip(), "Stopped before it began.", gr.skip()
                return
        about = estimate(content.size, settings, load_backbone(settings.backbone)).seconds
        yield gr.skip(), f"Starting: about {_duration(about)}", gr.skip()
        steps_done = stylize(content, style, settings, preview_every=PREVIEW_SECONDS, should_stop=stop.is_set)
        for step in steps_done:
            if step.image is not None and step.state is None:
                yield step.image, _status(step), gr.skip()
        path = Path(tempfile.mkdtemp(dir=RESULTS)) / "stylized.png"
        step.image.save(path)
        end = "Done" if step.step == step.steps else f"Stopped at step {step.step} of {step.steps}"
        size_text = f"{step.image.width} x {step.image.height} px"
        status = f"{end} · {_duration(step.seconds)} · {size_text} · {_losses(step)}"
        yield step.image, status, str(path)
    except StyleTransferError as error:
        raise gr.Error(str(error), print_exception=False) from None
    except Exception:
        log.exception("a run failed")
        raise gr.Error("Something went wrong while painting. Please try again.", print_exception=False) from None
    finally:  # also on Stop, a closed tab or a lost connection; Gradio runs it on its event loop: keep it short
        if holding:
            slot.release()
        if stop_flags.get(session) is stop:
            del stop_flags[session]


def page_event(request: gr.Request, *inputs) -> Iterator[tuple[Any, Any, Any]]:
    """As `stylize_event`, and the download button can be pressed only when there is something to download."""
    yield gr.skip(), "Starting…", gr.DownloadButton(interactive=False)
    with closing(stylize_event(*inputs, request=request)) as results:
        for picture, status, path in results:
            yield picture, status, gr.DownloadButton(value=path, interactive=True) if isinstance(path, str) else path


def stop_event(request: gr.Request) -> None:
    """End this visitor's run after its current step and keep the picture."""
    if flag := stop_flags.get(request.session_hash):
        flag.set()
    else:
        gr.Info("Nothing is being painted yet.")


def preset_event(preset: str) -> list[Any]:
    """Move the sliders to where the preset has them."""
    settings = PRESETS[preset]
    return [getattr(settings, name) for name in SLIDERS]


def failed_event() -> str:
    """What the status says when a run did not end well; the message itself is shown beside it."""
    return "The run ended early: see the message, mend it and try again."


def about_network() -> dict[str, Any]:
    """What the bundled checkpoint says of its training: a text, the curve in long form, top-1 by superclass."""
    metadata = read_metadata(bundled_checkpoint())
    names = {"train": "training", "test": "test"}
    curve = [
        {"epoch": row["epoch"], "measure": key, "pictures": name, "value": row[f"{split}_{key}"]}
        for row in metadata.get("curve", [])
        for split, name in names.items()
        for key in ("top1", "loss")
    ]
    text = (
        f"A VGG19 that learnt to name {metadata.get('pictures', 0):,} photos of {len(metadata['classes'])} kinds of "
        f"things ({metadata['dataset']}), in {metadata['epochs']} epochs, from nothing. Of pictures it has never seen "
        f"it names {metadata.get('top1')} % rightly; chance would be {100 / len(metadata['classes']):.0f} %."
    )
    return {"text": text, "curve": curve, "superclasses": superclass_accuracy(metadata.get("top1_by_class", {}))}


def check_pictures(content, style, *others) -> list[dict]:
    """Shown inside the empty upload field, before anything is queued."""
    checks = [gr.validate(content is not None, "Add a photo."), gr.validate(style is not None, "Add a painting.")]
    return checks + [gr.validate(True, "") for _ in others]


def _status(step) -> str:
    left = f"{_duration(step.seconds_left)} left"
    return f"Step {step.step} of {step.steps} · {left} · {_losses(step)}"


def _losses(step) -> str:
    return f"content {step.content_loss:.3g} · style {step.style_loss:.3g} · total {step.total_loss:.3g}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


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

        if (about := about_network())["curve"]:
            with gr.Accordion("The network that looks at your pictures", open=False, elem_id="network"):
                gr.Markdown(about["text"])
                with gr.Row():
                    for key, title in (("top1", "Top-1 in %"), ("loss", "Cross entropy")):
                        gr.LinePlot(
                            pd.DataFrame([row for row in about["curve"] if row["measure"] == key]),
                            x="epoch", y="value", color="pictures", x_title="epoch", y_title=title, height=300,
                            buttons=[], color_map={"training": "#8a8a8a", "test": "#f97316"}, color_title=" ",
                            label=f"{title} by epoch (grey: training, orange: test)",
                        )
                rates = {name: percent / 100 for name, percent in about["superclasses"].items()}
                gr.Label(rates, num_top_classes=20, show_heading=False, label="Test pictures named rightly, by kind")

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
