"""What programs call: `/stylize` of the HTTP API, and the tool of the same name for language models (MCP)."""

import base64
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from nst import DEFAULT_PRESET, PRESETS, StyleSettings, StyleTransferError, describe, save_result
from nst.web import words
from nst.web.errors import readable_errors
from nst.web.options import BACKBONES, Options
from nst.web.run_queue import RunQueue
from nst.web.storage import new_result
from nst.web.uploads import Picture

NUMBERS = ("size", "steps", "content_weight", "style_weight", "tv_weight", "seed")


class StylizeEndpoint:
    """The function behind `/stylize`: Gradio describes its parameters from the signature and the docstring."""

    def __init__(self, options: Options, queue: RunQueue):
        self._options = options
        self._queue = queue

    def stylize(
        self,
        content,
        style,
        preset: str = DEFAULT_PRESET,
        size: float | None = None,
        steps: float | None = None,
        content_weight: float | None = None,
        style_weight: float | None = None,
        tv_weight: float | None = None,
        seed: float | None = None,
        backbone: str = "cifar100",
        laplacian_weight: float | None = None,
        request: gr.Request = None,
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Paint a photo in the style of a picture; yields previews while it works and ends with a lossless PNG.

        Takes a quarter of a minute (quick) to many minutes (fine) on a processor. With a preset alone the result is
        good; to change it, raise style_weight two- to five-fold for stronger strokes, or laplacian_weight for clearer
        shapes.

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
            laplacian_weight: how much the photo's outlines count, 0 or more.

        Returns:
            The latest picture (JPEG), a line of status, and at the end the result as a PNG file with its recipe.
        """
        session = request.session_hash if request else None
        with readable_errors():
            if content is None or style is None:
                raise StyleTransferError("Add a photo and a painting first.")
            given = dict(zip(NUMBERS, (size, steps, content_weight, style_weight, tv_weight, seed), strict=True))
            given["laplacian_weight"] = laplacian_weight
            given = {name: value for name, value in given.items() if value is not None} | {"backbone": backbone}
            settings = StyleSettings.preset(preset, **given)
            if size is None:
                settings = replace(settings, size=min(settings.size, self._options.max_size))
            if settings.size > self._options.max_size:
                raise StyleTransferError(f"size must be at most {self._options.max_size} here, not {settings.size}.")
            recipe = describe(content, style, settings)
            with closing(self._queue.paint(session, content, style, settings)) as steps_done:
                for step in steps_done:
                    if isinstance(step, str):
                        yield gr.skip(), step, gr.skip()
                    elif step.image is not None and step.state is None:
                        yield step.image, words.progress(step), gr.skip()
            if isinstance(step, str):
                yield gr.skip(), "Stopped before it began.", gr.skip()
                return
            path = save_result(step.image, new_result(), replace(recipe, steps_done=step.step))
            yield step.image, words.ending(step, self._options.time_limit), str(path)


def add_api(options: Options, queue: RunQueue, **event_options: Any) -> None:
    """Inside the page, unseen. Sliders always have a value, and would override the preset asked for: hence numbers."""
    content, style = Picture(label="content", visible=False), Picture(label="style", visible=False)
    preset = gr.Dropdown(list(PRESETS), value=DEFAULT_PRESET, visible=False, label="preset")
    numbers = [gr.Number(label=name, visible=False) for name in NUMBERS]
    backbone = gr.Dropdown(BACKBONES, value="cifar100", visible=False, label="backbone")
    outputs = [gr.Image(format="jpeg", visible=False), gr.Textbox(visible=False), gr.File(visible=False)]
    outlines = gr.Number(label="laplacian_weight", visible=False)  # last: callers may name values by their places
    given = [content, style, preset, *numbers, backbone, outlines]
    endpoint = StylizeEndpoint(options, queue)
    gr.Button(visible=False).click(endpoint.stylize, given, outputs, api_name="stylize", **event_options)


def answer_with_pictures(demo: gr.Blocks) -> None:
    """Have the tool for language models, once launched, answer with the picture itself.

    Gradio's own answer is a table with addresses, and in them this server's paths.
    """
    server = demo.mcp_server_obj
    server.postprocess_output_data = lambda outputs, _: [
        server.types.ImageContent(type="image", data=one, mimeType="image/png")
        if kind == "picture"
        else server.types.TextContent(type="text", text=one)
        for kind, one in tool_answer(outputs)
    ]


def tool_answer(outputs: list[Any]) -> list[tuple[str, str]]:
    """("text", the status) and, if there is a result, ("picture", its PNG file in base64)."""
    _, status, result = outputs if len(outputs) == 3 else outputs[0]  # within a list if nobody asked for progress
    path = result.get("path") if isinstance(result, dict) else None
    text = [("text", str(status))]
    return [*text, ("picture", base64.b64encode(Path(path).read_bytes()).decode())] if path else text
