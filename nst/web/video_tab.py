"""The tab "Film": a short clip is painted frame by frame, and becomes a film."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from nst import PRESETS, StyleTransferError, load_picture
from nst.examples import CLIPS, photo_path
from nst.web.errors import readable_errors
from nst.web.examples import CLIP_PATHS, PAINTING_PATHS, example_row
from nst.web.inputs import ClipField, Picture
from nst.web.options import Options
from nst.web.run_queue import PREVIEW_SECONDS
from nst.web.status import STOPPED_EARLY
from nst.web.videos import RATES, USUAL_RATE, VideoRuns, VideoStep, video_ending_line, video_line

PRESET, PRESET_NAMES = "quick", ("quick", "balanced")  # a clip has many frames: the slower presets take hours
SMALLEST, SIZE = 64, 384  # px
INTRODUCTION = "Give a clip and a painting. The paint moves with the things in the clip, and does not flicker."
WELCOME = "Add a clip of at most {seconds} s and a painting, then press Paint the film."
# On a phone the frames are below the button: they are brought into view.
SHOW_FRAMES = "() => { if (innerWidth <= 768) document.querySelector('#film_view').scrollIntoView(); }"
FAILED = "No film was made: see the error message, correct what it names, and try again."


@dataclass(frozen=True)
class VideoTab:
    """The components of the tab."""

    clip: ClipField
    style: Picture
    preset: gr.Radio
    size: gr.Slider
    rate: gr.Slider
    start: gr.Button
    stop: gr.Button
    frame: gr.Image
    film: gr.Video
    status: gr.Textbox
    download: gr.DownloadButton


def video_tab(options: Options) -> VideoTab:
    """Lay out the tab."""
    gr.Markdown(INTRODUCTION)
    with gr.Row(elem_id="film_work"):
        with gr.Column(scale=5, min_width=320):
            with gr.Row(elem_id="film_inputs"):
                clip = ClipField(label="Clip", sources=["upload"], height=230, elem_id="clip", buttons=[])
                style = Picture(label="Painting", elem_id="film_style", alt_text="The painting to learn from",
                                sources=["upload", "clipboard"], height=230, buttons=[],
                                elem_classes="picture_field")  # fmt: skip
            style.read_at_once()
            example_row(CLIP_PATHS, clip, "A clip to try:", "example_clips", icons=[photo_path(name) for name in CLIPS])
            example_row(PAINTING_PATHS, style, "Paintings to try:", "example_film_paintings")
            preset = gr.Radio(PRESET_NAMES, value=PRESET, label="Preset", elem_id="film_preset",
                              info="balanced takes about three times as long.")  # fmt: skip
            with gr.Row(equal_height=True, elem_id="film_run"):
                start = gr.Button("Paint the film", variant="primary", elem_id="paint_film", scale=3, min_width=160)
                stop = gr.Button("Stop", variant="stop", elem_id="stop_film", scale=1, min_width=80)
            with gr.Row():
                size = gr.Slider(min(SMALLEST, options.max_size), options.max_size, min(SIZE, options.max_size),
                                 step=32, label="Size", info="Long side in pixels.",
                                 elem_id="film_size", min_width=200)  # fmt: skip
                rate = gr.Slider(*RATES, USUAL_RATE, step=1, label="Frames a second", elem_id="film_rate",
                                 info="At most as many as the clip has.", min_width=200)  # fmt: skip
        with gr.Column(scale=6, min_width=320, elem_id="film_view"):
            frame = gr.Image(label="Latest frame", format="jpeg", interactive=False, height=420, buttons=[],
                             elem_id="film_frame", alt_text="The latest painted frame")  # fmt: skip
            film = gr.Video(label="Film", interactive=False, height=420, loop=True, visible=False, buttons=[],
                            elem_id="film_result")  # fmt: skip
            welcome = WELCOME.format(seconds=options.clip_seconds)
            status = gr.Textbox(welcome, label="Status", interactive=False, elem_id="film_status", lines=1, max_lines=2,
                                show_label=False, container=False)  # fmt: skip
            download = gr.DownloadButton("Download the film", variant="primary", interactive=False,
                                         elem_id="download_film")  # fmt: skip
    return VideoTab(clip, style, preset, size, rate, start, stop, frame, film, status, download)


class VideoEvents:
    """The events of the tab. Its generator yields {component: value} for the components that change."""

    def __init__(self, runs: VideoRuns, tab: VideoTab, options: Options):
        self._runs, self._tab, self._options = runs, tab, options

    def connect(self, run_limits: dict[str, Any]) -> None:
        """Connect the button that starts, and look at every clip as soon as it arrives."""
        tab, outputs = self._tab, [self._tab.frame, self._tab.film, self._tab.status, self._tab.download]
        hidden = {"show_progress": "hidden", "api_visibility": "private"}
        upload = tab.clip.upload(self.check, tab.clip, None, concurrency_limit=None, **hidden)
        upload.failure(lambda: None, None, tab.clip, queue=False, **hidden)
        tab.start.click(None, js=SHOW_FRAMES)  # Gradio would call a later listener only after the run
        painted = tab.start.click(self.paint, [tab.clip, tab.style, tab.preset, tab.size, tab.rate], outputs,
                                  show_progress="minimal", show_progress_on=[tab.status], **run_limits)  # fmt: skip
        painted.failure(lambda: FAILED, None, tab.status, queue=False, **hidden)

    def check(self, clip: str | None) -> None:
        """Refuse an upload that is no clip, or that is too long."""
        with readable_errors():
            if clip is not None:
                self._runs.open(clip)

    def paint(
        self, request: gr.Request, clip: str | None, style, preset: str, size: float, rate: float
    ) -> Iterator[dict]:
        """Paint the clip frame by frame, and show each frame; at the end show the film."""
        tab = self._tab
        with readable_errors():
            if clip is None or style is None:
                raise StyleTransferError("Add a clip and a painting first.")
            source = self._runs.open(clip, rate)
            settings = replace(PRESETS[preset], size=int(size))
            first = next(source.frames(0, settings.size))
            yield {tab.status: "Starting…", tab.frame: gr.Image(first, visible=True), tab.film: gr.Video(visible=False),
                   tab.download: gr.DownloadButton(interactive=False)}  # fmt: skip
            step, shown_at = None, 0.0
            with closing(self._runs.paint(request.session_hash, source, load_picture(style), settings)) as steps:
                for step in steps:
                    if isinstance(step, str):
                        yield {tab.status: step}
                    elif step.path is None and (step.frame == 1 or step.seconds - shown_at >= PREVIEW_SECONDS):
                        shown_at = step.seconds
                        yield {tab.frame: step.image, tab.status: video_line(step)}
            if not isinstance(step, VideoStep):
                yield {tab.status: STOPPED_EARLY}
                return
            yield {tab.frame: gr.Image(visible=False), tab.film: gr.Video(str(step.path), visible=True),
                   tab.status: self._ending(source.damaged, step),
                   tab.download: gr.DownloadButton(value=str(step.path), interactive=True)}  # fmt: skip

    def _ending(self, damaged: int, step: VideoStep) -> str:
        line = video_ending_line(step, self._options.time_limit)
        return f"{line}\nThe clip is damaged: parts of it were left out." if damaged else line
