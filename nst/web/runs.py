"""The runs on the page: start, continue, stop, and what is shown while they paint and afterwards."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from nst import Step, StyleSettings, computing, describe, load_picture
from nst.web import zerogpu
from nst.web.compare import compare_value
from nst.web.controls import settings_from
from nst.web.errors import readable_errors
from nst.web.gallery import gallery_value
from nst.web.inputs import MORE_PAINTINGS, styles_of
from nst.web.loss_plot import SECONDS, loss_table
from nst.web.options import Options
from nst.web.run_queue import RunQueue
from nst.web.session import Run, Session
from nst.web.stage_slider import stage_slider
from nst.web.status import STOPPED_EARLY, ending_line, progress_line, recipe_warning
from nst.web.styles import chosen_style

MORE_STEPS = 50  # that Continue adds to a run that has done all its steps
FAILED = "The run failed: see the error message, correct what it names, and try again."


@dataclass(frozen=True)
class RunOutputs:
    """The components that a run changes while it paints."""

    picture: gr.Image
    status: gr.Textbox
    losses: gr.LinePlot
    session: gr.State
    download: gr.DownloadButton
    resume: gr.Button


class RunEvents:
    """The events of a run. Its generators yield {component: value} for the components that change."""

    def __init__(self, options: Options, queue: RunQueue, outputs: RunOutputs):
        self.options, self.queue, self.outputs = options, queue, outputs

    def start(
        self, request: gr.Request, *, content, style, session: Session, kind: str, transparent: bool, **inputs: Any
    ) -> Iterator[dict]:
        """Paint from the beginning. inputs: see `_styles_and_settings`."""
        with readable_errors():
            styles, settings = _styles_and_settings(style, self.options.styles, **inputs)
            run = Run(content.info["path"], settings, describe(content, styles, settings))
            yield from self._paint(request, session, run, content, styles, kind, transparent)

    def resume(
        self, request: gr.Request, *, style, session: Session, kind: str, transparent: bool, **inputs: Any
    ) -> Iterator[dict]:
        """Continue the latest run, on its own photo, with the paintings and settings as they are now."""
        with readable_errors():
            previous = session.latest_run()
            styles, settings = _styles_and_settings(style, self.options.styles, **inputs)
            settings = replace(settings, steps=_next_end(previous, settings.steps))
            photo, state = previous.read_photo(), previous.read_last_step().state
            run = previous.continued(settings, describe(photo, styles, settings), state)
            yield from self._paint(request, session, run, photo, styles, kind, transparent, resume=state)

    def _paint(
        self, request: gr.Request, session: Session, run: Run, photo, styles, kind: str, transparent: bool, **options
    ) -> Iterator[dict]:
        show = self.outputs
        hardware = "ZeroGPU" if zerogpu.PRESENT else computing(run.settings.device, run.settings.precision)
        yield {show.status: "Starting…", show.download: gr.DownloadButton(interactive=False),
               show.resume: gr.Button(interactive=False)}  # fmt: skip
        step, plotted_at = None, 0.0
        with closing(self.queue.paint(request.session_hash, photo, styles, run.settings, **options)) as steps:
            for step in steps:
                if isinstance(step, str):  # a sentence about the wait
                    yield {show.status: step}
                    continue
                run.add(step)
                if step.image is not None and step.state is None:
                    values = {show.picture: step.image, show.status: f"{progress_line(step)}\n{hardware}"}
                    if run.losses and step.seconds - plotted_at >= SECONDS:  # a sketch has none
                        plotted_at = step.seconds
                        values[show.losses] = loss_table(run.losses)
                    yield values
        if run.last is None or isinstance(step, str):
            yield {show.status: STOPPED_EARLY, show.resume: gr.Button(interactive=session.run is not None)}
            return
        yield self._result(session, run, step, kind, transparent, hardware)

    def _result(self, session: Session, run: Run, step: Step, kind: str, transparent: bool, hardware: str) -> dict:
        show, path = self.outputs, session.finish(run)
        if (kind, transparent) != ("PNG", False):
            path = run.export(kind, transparent)
        second_line = recipe_warning(run.recipe) or hardware
        return {
            show.picture: step.image,
            show.status: f"{ending_line(step, self.options.time_limit)}\n{second_line}",
            show.losses: loss_table(run.losses),
            show.session: session,
            show.download: gr.DownloadButton(value=str(path), interactive=True),
            show.resume: gr.Button(interactive=True),
        }


def _styles_and_settings(
    style, folder: str, *, saved_style: str | None, base: StyleSettings, drawing: dict[str, Any] | None, **values: Any
) -> tuple[list, StyleSettings]:
    """Return the styles and the settings of the page.

    folder: of the saved styles. saved_style: the name of the one that takes the place of the painting, or empty.
    base: the settings that the controls belong to. drawing: of the mask. values: `style_2`, `weight_2` and so on for
    the other paintings, and the controls' values by field.
    """
    others = [(values.pop(f"style_{number}"), values.pop(f"weight_{number}")) for number in MORE_PAINTINGS]
    style = chosen_style(saved_style, folder) or style
    return styles_of(style, others, drawing), settings_from(base, values)


def show_finished(session: Session, steps: int) -> tuple:
    """Return what is shown after a run.

    Before and after, the slider of stages and its picture, the gallery, the Continue button, and the button that takes
    the result as the next photo.
    """
    run = session.run
    if run is None:
        return (gr.skip(),) * 6
    with readable_errors():
        comparison = compare_value(load_picture(run.read_photo()), run.read_picture())
    resume = resume_button(run, steps)
    return (comparison, stage_slider(run.film), run.film.frame(-1), gallery_value(session), resume,
            gr.Button(interactive=True))  # fmt: skip


def show_failed(session: Session) -> tuple:
    """Return status, download and Continue button after a run that failed; the error itself is shown beside them."""
    has_result = session.run is not None
    return FAILED, gr.DownloadButton(interactive=has_result), gr.Button(interactive=has_result)


def label_resume_button(session: Session, steps: int):
    """Return the Continue button with the step that it would continue to."""
    return resume_button(session.run, steps) if session.run else gr.skip()


def resume_button(run: Run, steps: int) -> gr.Button:
    """Return the Continue button for a run. steps: as set on the page."""
    return gr.Button(f"Continue to {_next_end(run, steps)}")


def _next_end(run: Run, steps: int) -> int:
    """Return the steps that Continue goes to: the setting, or `MORE_STEPS` more if the run is there already."""
    steps_done = run.last.step
    return int(steps) if steps > steps_done else steps_done + MORE_STEPS
