"""The API for programs: `/stylize` and `/film` over HTTP, and the tools of the same names for language models (MCP)."""

import base64
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from nst import DEFAULT_PRESET, PRESETS, Step, StyleSettings, StyleTransferError, describe, save_result
from nst.web.errors import readable_errors
from nst.web.inputs import ClipField, Picture
from nst.web.options import BACKBONES, Options
from nst.web.run_queue import RunQueue
from nst.web.status import STOPPED_EARLY, ending_line, losses_text, progress_line
from nst.web.storage import new_result
from nst.web.videos import USUAL_RATE, VideoRuns, VideoStep, video_ending_line, video_line

FILM_PRESET, FILM_SIZE = "quick", 384  # px: a film of ten seconds then takes a few minutes on two cores

def add_api(options: Options, queue: RunQueue, **event_options: Any) -> None:
    """Add the endpoints `/stylize` and `/film` to the page that is being built, with hidden components.

    The page's own sliders cannot be used: they always have a value, which would override the preset's.

    event_options: passed on to Gradio's event, for example `concurrency_id`.
    """
    preserve_colours = gr.Checkbox(visible=False, label="preserve_colours")
    preserve_colours.value = None  # the preset's; Gradio begins with False, and clients would send that
    inputs = [
        Picture(label="content", visible=False),
        Picture(label="style", visible=False),
        gr.Dropdown(list(PRESETS), value=DEFAULT_PRESET, visible=False, label="preset"),
        gr.Number(visible=False, label="size"),
        gr.Number(visible=False, label="steps"),
        gr.Number(visible=False, label="content_weight"),
        gr.Number(visible=False, label="style_weight"),
        gr.Number(visible=False, label="tv_weight"),
        gr.Number(visible=False, label="seed"),
        gr.Dropdown(BACKBONES, value="cifar100", visible=False, label="backbone"),
        # The newest are the last: clients may pass values by position.
        gr.Number(visible=False, label="laplacian_weight"),
        gr.Number(visible=False, label="strength"),
        gr.Number(visible=False, label="style_scale"),
        preserve_colours,
    ]
    endpoint = StylizeEndpoint(options, queue)
    gr.Button(visible=False).click(endpoint.stylize, inputs, _outputs(), api_name="stylize", **event_options)
    film_inputs = [
        ClipField(label="clip", visible=False),
        Picture(label="style", visible=False),
        gr.Dropdown(list(PRESETS), value=FILM_PRESET, visible=False, label="preset"),
        gr.Number(visible=False, label="size"),
        gr.Number(USUAL_RATE, visible=False, label="fps"),
        gr.Number(visible=False, label="strength"),
        gr.Number(visible=False, label="style_scale"),
    ]
    films = FilmEndpoint(endpoint, VideoRuns(options, queue), options)
    gr.Button(visible=False).click(films.film, film_inputs, _outputs(), api_name="film", **event_options)


def _outputs() -> list[gr.components.Component]:
    """Return hidden components for the latest picture, a line of status, and the file at the end."""
    return [gr.Image(format="jpeg", visible=False), gr.Textbox(visible=False), gr.File(visible=False)]


class StylizeEndpoint:
    """The function behind `/stylize`. Gradio describes its parameters to clients by its signature and docstring."""

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
        strength: float | None = None,
        style_scale: float | None = None,
        preserve_colours: bool | None = None,
        request: gr.Request = None,
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Paint a photo in the style of a picture; yields previews while it works and ends with a lossless PNG.

        Takes a quarter of a minute (quick) to many minutes (fine) on a processor. With a preset alone the result is
        good. To change it: strength below 1 for a lighter painting, a higher style_weight (two- to five-fold) for
        stronger strokes, style_scale for broader or finer strokes, or a higher laplacian_weight for clearer shapes.

        Args:
            content: the photo, whose shapes are kept.
            style: the painting, whose colours and strokes are taken.
            preset: classic, quick, balanced, fine or covariance; what is left out below comes from it.
            size: long side of the result in pixels, from 32 to the host's limit (1024 by default).
            steps: optimizer steps, 1 to 10000; more is closer to the style and takes longer.
            content_weight: how much the photo's structure counts, 0 or more.
            style_weight: how much the painting's texture and colour count, 0 or more.
            tv_weight: how much smoothness counts, 0 or more.
            seed: of the random start and noise, where there is one.
            backbone: cifar100 (bundled) or imagenet (torchvision's weights, downloaded once).
            laplacian_weight: how much the photo's outlines count, 0 or more.
            strength: 1 is the painting, 0 the photo, between them a lighter painting; up to 1.5 is a stronger one.
            style_scale: 0.25 to 2; above 1 the strokes are broader, below 1 they are finer.
            preserve_colours: true keeps the photo's colours, and paints only how light and dark it is.

        Returns:
            The latest picture (JPEG), a line of status, and at the end the result as a PNG file with its recipe.
        """
        changes = {
            "size": size,
            "steps": steps,
            "content_weight": content_weight,
            "style_weight": style_weight,
            "tv_weight": tv_weight,
            "seed": seed,
            "laplacian_weight": laplacian_weight,
            "strength": strength,
            "style_scale": style_scale,
            "preserve_colours": preserve_colours,
        }
        session = request.session_hash if request else None
        with readable_errors():
            if content is None or style is None:
                raise StyleTransferError("Add a photo and a painting first.")
            settings = self.settings(preset, backbone=backbone, **changes)
            recipe = describe(content, style, settings)
            with closing(self._queue.paint(session, content, style, settings)) as run:
                for step in run:
                    if isinstance(step, str):
                        yield gr.skip(), step, gr.skip()
                    elif step.image is not None and step.state is None:
                        yield step.image, _with_losses(progress_line(step), step), gr.skip()
            if isinstance(step, str):
                yield gr.skip(), STOPPED_EARLY, gr.skip()
                return
            path = save_result(step.image, new_result(), replace(recipe, steps_done=step.step))
            yield step.image, _with_losses(ending_line(step, self._options.time_limit), step), str(path)

    def settings(self, preset: str, **changes: Any) -> StyleSettings:
        """Return the preset's settings with the changes but None. A preset's size is bounded by the host's limit.

        Raises StyleTransferError for values that cannot be used, and for a size in `changes` above the host's limit.
        """
        changes = {name: value for name, value in changes.items() if value is not None}
        settings = StyleSettings.preset(preset, **changes)
        max_size = self._options.max_size
        if "size" not in changes:
            return replace(settings, size=min(settings.size, max_size))
        if settings.size > max_size:
            raise StyleTransferError(f"size must be at most {max_size} here, not {settings.size}.")
        return settings


class FilmEndpoint:
    """The function behind `/film`, described as that behind `/stylize` is."""

    def __init__(self, pictures: StylizeEndpoint, runs: VideoRuns, options: Options):
        self._pictures, self._runs, self._options = pictures, runs, options

    def film(
        self,
        clip,
        style,
        preset: str = FILM_PRESET,
        size: float | None = None,
        fps: float | None = USUAL_RATE,
        strength: float | None = None,
        style_scale: float | None = None,
        request: gr.Request = None,
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Paint a short clip in the style of a picture; yields the painted frames and ends with an MP4 and its sound.

        Takes about a second for each frame on two processor cores. The paint moves with the things in the clip.

        Args:
            clip: the clip, as long as the host allows (10 seconds by default).
            style: the painting, whose colours and strokes are taken.
            preset: quick, balanced, fine, classic or covariance.
            size: long side of the film in pixels, from 32 to the host's limit; 384 if it is left out.
            fps: frames a second, 5 to 30, but at most as many as the clip has.
            strength: 1 is the painting, 0 the clip, between them a lighter painting; up to 1.5 is a stronger one.
            style_scale: 0.25 to 2; above 1 the strokes are broader, below 1 they are finer.

        Returns:
            The latest frame (JPEG), a line of status, and at the end the film as an MP4 file.
        """
        session = request.session_hash if request else None
        with readable_errors():
            if clip is None or style is None:
                raise StyleTransferError("Add a clip and a painting first.")
            size = min(FILM_SIZE, self._options.max_size) if size is None else size
            settings = self._pictures.settings(preset, size=size, strength=strength, style_scale=style_scale)
            source = self._runs.open(clip, USUAL_RATE if fps is None else fps)
            with closing(self._runs.paint(session, source, style, settings)) as run:
                for step in run:
                    if isinstance(step, str):
                        yield gr.skip(), step, gr.skip()
                    elif step.path is None:
                        yield step.image, video_line(step), gr.skip()
            if not isinstance(step, VideoStep):
                yield gr.skip(), STOPPED_EARLY, gr.skip()
                return
            yield step.image, video_ending_line(step, self._options.time_limit), str(step.path)


def _with_losses(line: str, step: Step) -> str:
    """Return a line of status with the losses of its step, which a sketch does not have."""
    return line if step.step == 0 else f"{line} · {losses_text(step)}"


def answer_with_pictures(demo: gr.Blocks) -> None:
    """Have the launched page's tools for language models answer with the picture or the film itself.

    Gradio's own answer is a table of addresses, which contain paths of this server.
    """
    server = demo.mcp_server_obj
    server.postprocess_output_data = lambda outputs, _: _tool_answer(outputs, server.types)


def _tool_answer(outputs: list[Any], types: Any) -> list[Any]:
    """Return the status as text and, if there is a result, its PNG file as a picture, or its MP4 file as a resource.

    outputs: what the endpoint returned, within another list unless the client asked for progress. types: `mcp.types`.
    """
    _, status, result = outputs if len(outputs) == 3 else outputs[0]
    answer = [types.TextContent(type="text", text=str(status))]
    path = result.get("path") if isinstance(result, dict) else None
    if path:
        data = base64.b64encode(Path(path).read_bytes()).decode()
        if path.endswith(".mp4"):
            film = types.BlobResourceContents(uri="film://film.mp4", mimeType="video/mp4", blob=data)
            answer.append(types.EmbeddedResource(type="resource", resource=film))
        else:
            answer.append(types.ImageContent(type="image", data=data, mimeType="image/png"))
    return answer
