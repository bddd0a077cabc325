"""The runs on the page: start, continue, enlarge, stop, and what is shown while they paint and afterwards."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from nst import (
    Film,
    Step,
    Style,
    StyleSettings,
    StyleTransferError,
    computing,
    describe,
    enlarged,
    load_picture,
)
from nst.web import zerogpu
from nst.web.compare import compare_value
from nst.web.controls import settings_from
from nst.web.errors import readable_errors
from nst.web.gallery import gallery_value
from nst.web.inputs import MORE_PAINTINGS
from nst.web.loss_plot import SECONDS, loss_table
from nst.web.mixing import load_artist, styles_of
from nst.web.options import Options
from nst.web.regions import REST_STAYS, check_shape, masks_of, part_of
from nst.web.run_queue import RunQueue
from nst.web.session import Run, Session
from nst.web.stage_slider import stage_slider
from nst.web.status import STOPPED_EARLY, ending_line, losses_text, progress_line, recipe_warning
from nst.web.strength import PreviewMixer, RunStrengths
from nst.web.styles import chosen_style

MORE_STEPS = 50  # that Continue adds to a run that has done all its steps
FAILED = "The run failed: see the error message, correct what it names, and try again."


@dataclass(frozen=True)
class RunOutputs:
    """The components that a run changes while it paints."""

    picture: gr.Image
    status: gr.Textbox
    numbers: gr.Markdown
    losses: gr.LinePlot
    session: gr.State
    download: gr.DownloadButton
    resume: gr.Button


@dataclass(frozen=True)
class Wanted:
    """How the result is to be saved and shown: kind of file, with the photo's transparency or not, and strength."""

    kind: str
    transparent: bool
    strength: float

    @classmethod
    def taken_from(cls, inputs: dict[str, Any]) -> "Wanted":
        """Return the values in the inputs of an event, and remove them there."""
        return cls(inputs.pop("kind"), inputs.pop("transparent"), inputs.pop("strength"))


class RunEvents:
    """The events of a run. Its generators yield {component: value} for the components that change."""

    def __init__(self, options: Options, queue: RunQueue, outputs: RunOutputs):
        self.options, self.queue, self.outputs = options, queue, outputs
        self.strengths = RunStrengths()

    def start(self, request: gr.Request, *, content, style, session: Session, **inputs: Any) -> Iterator[dict]:
        """Paint from the beginning. inputs: the fields of `Wanted`, and see `styles_and_settings`."""
        with readable_errors():
            if content is None:
                raise StyleTransferError("Add a photo and a painting first.")
            wanted = Wanted.taken_from(inputs)
            styles, settings = styles_and_settings(content, style, self.options.styles, **inputs)
            run = Run(content.info["path"], settings, describe(content, styles, settings))
            yield from self._paint(request, session, run, content, styles, wanted)

    def resume(self, request: gr.Request, *, style, session: Session, **inputs: Any) -> Iterator[dict]:
        """Continue the latest run, on its own photo, with the paintings and settings as they are now."""
        with readable_errors():
            previous, wanted = session.latest_run(), Wanted.taken_from(inputs)
            photo, state = previous.read_photo(), previous.read_last_step().state
            styles, settings = styles_and_settings(photo, style, self.options.styles, **inputs)
            settings = replace(settings, steps=_next_end(previous, settings.steps))
            recipe = describe(photo, styles, settings).continued(previous.recipe)
            run = previous.continued(settings, recipe, state)
            yield from self._paint(request, session, run, photo, styles, wanted, resume=state)

    def enlarge(self, request: gr.Request, *, style, session: Session, **inputs: Any) -> Iterator[dict]:
        """Paint the latest picture on at twice its size, with its own settings, and the paintings as they are now."""
        with readable_errors():
            previous, wanted = session.latest_run(), Wanted.taken_from(inputs)
            photo, state = previous.read_photo(), previous.read_last_step().state
            styles, _ = styles_and_settings(photo, style, self.options.styles, **inputs)
            settings = enlarged(previous.settings, state, photo.size)
            if settings.size > self.options.max_size:
                raise StyleTransferError(f"size must be at most {self.options.max_size} here, not {settings.size}.")
            recipe = describe(photo, styles, settings).enlarging(previous.recipe)
            run = replace(previous.continued(settings, recipe, state), film=Film())  # all frames have one size
            yield from self._paint(request, session, run, photo, styles, wanted, resume=state)

    def _paint(
        self, request: gr.Request, session: Session, run: Run, photo, styles, wanted: "Wanted", **options
    ) -> Iterator[dict]:
        show = self.outputs
        yield {show.status: "Starting…", show.download: gr.DownloadButton(interactive=False),
               show.resume: gr.Button(interactive=False)}  # fmt: skip
        with self.strengths.of_run(request.session_hash, wanted.strength) as latest_strength:
            step, plotted_at, mixer = None, 0.0, PreviewMixer(photo, run.settings.seamless)
            losses = {}
            with closing(self.queue.paint(request.session_hash, photo, styles, run.settings, **options)) as steps:
                for step in steps:
                    if isinstance(step, str):  # a sentence about the wait
                        yield {show.status: step}
                        continue
                    run.add(step)
                    if step.image is None or step.state is not None:
                        continue
                    picture = mixer.mix(step.image, latest_strength())
                    values = {show.picture: picture, show.status: progress_line(step)}
                    if run.losses and step.seconds - plotted_at >= SECONDS:  # a sketch has none
                        plotted_at = step.seconds
                        losses = {show.losses: loss_table(run.losses), show.numbers: _numbers(run, step)}
                    # Gradio's page forgets the table of a plot that an output leaves out. Then a plot that a visitor
                    # opens at that moment stays empty.
                    yield values | losses
            if run.last is None or isinstance(step, str):
                yield {show.status: STOPPED_EARLY, show.resume: gr.Button(interactive=session.run is not None)}
                return
            run.strength = latest_strength()
            yield self._result(session, run, step, wanted)

    def _result(self, session: Session, run: Run, step: Step, wanted: "Wanted") -> dict:
        show, path = self.outputs, session.finish(run)
        if (wanted.kind, wanted.transparent) != ("PNG", False):
            path = run.export(wanted.kind, wanted.transparent)
        return {
            show.picture: run.read_shown(),
            show.status: f"{ending_line(step, self.options.time_limit)}\n{recipe_warning(run.recipe)}".strip(),
            show.numbers: _numbers(run, step),
            show.losses: loss_table(run.losses),
            show.session: session,
            show.download: gr.DownloadButton(value=str(path), interactive=True),
            show.resume: gr.Button(interactive=True),
        }


def _numbers(run: Run, step: Step) -> str:
    """Return what computes the run, and the step's losses."""
    hardware = "ZeroGPU" if zerogpu.PRESENT else computing(run.settings.device, run.settings.precision)
    return f"Computed with {hardware}. Losses: {losses_text(step)}."


def styles_and_settings(
    photo,
    style,
    folder: str,
    *,
    saved_style: str | None,
    base: StyleSettings,
    drawing: dict[str, Any] | None,
    rest: str,
    part: dict[str, Any] | None,
    part_loaded: str,
    mix: float,
    artist: list[str] | None,
    **values: Any,
) -> tuple[list, StyleSettings]:
    """Return the styles and the settings of the page.

    folder: of the saved styles. saved_style: the name of the one that takes the place of the painting, or empty.
    base: the settings that the controls belong to. drawing, rest, part, part_loaded: as in `nst.web.regions`.
    mix, artist: as in `nst.web.mixing`. values: `style_2`, `weight_2` and so on for the other paintings, and the
    controls' values by field.
    """
    others = [(values.pop(f"style_{number}"), values.pop(f"weight_{number}")) for number in MORE_PAINTINGS]
    masks = masks_of(drawing)
    check_shape(photo, masks)
    saved = chosen_style(saved_style, folder)
    if saved is None and style is None:
        raise StyleTransferError("Add a painting.")
    painting_part = None if saved else part_of(part, style, part_loaded)
    more = load_artist(artist)
    painting = saved or style
    first = Style([painting, *more] if more else painting, part=painting_part)
    styles = styles_of(first, others, masks, mix, rest_stays=rest == REST_STAYS)
    return styles, replace(settings_from(base, values), strength=1.0)  # the page mixes the picture with the photo


def show_finished(session: Session, steps: int, max_size: int) -> tuple:
    """Return what is shown after a run.

    Before and after, the slider of stages and its picture, the gallery, the Continue button, the button that takes the
    result as the next photo, and the Enlarge button.
    """
    run = session.run
    if run is None:
        return (gr.skip(),) * 7
    with readable_errors():
        comparison = compare_value(load_picture(run.read_photo()), run.read_shown())
    return (comparison, stage_slider(run.film), run.film.frame(-1), gallery_value(session), resume_button(run, steps),
            gr.Button(interactive=True), enlarge_button(run, max_size))  # fmt: skip


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


def enlarge_button(run: Run, max_size: int) -> gr.Button:
    """Return the Enlarge button for a run. max_size: the host's limit in px."""
    size = 2 * run.settings.size
    if size > max_size:
        return gr.Button(f"Enlarge: {max_size} px is the limit here", interactive=False)
    return gr.Button(f"Enlarge to {size} px", interactive=True)


def _next_end(run: Run, steps: int) -> int:
    """Return the steps that Continue goes to: the setting, or `MORE_STEPS` more if the run is there already."""
    steps_done = run.last.step
    return int(steps) if steps > steps_done else steps_done + MORE_STEPS
