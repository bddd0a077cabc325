"""The page's runs: begun, continued, stopped, finished."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import gradio as gr

from nst import StyleSettings, computing, describe
from nst.web import losses, words, zerogpu
from nst.web.compare import pair
from nst.web.controls import settings_of
from nst.web.errors import readable_errors
from nst.web.gallery import pictures
from nst.web.options import Options
from nst.web.run_queue import RunQueue
from nst.web.stages import scrubber_for
from nst.web.styles import MORE, styles_of
from nst.web.visit import Run, Visit

MORE_STEPS = 50  # what Continue adds once a run has come as far as it was asked


def start_event(
    options: Options,
    queue: RunQueue,
    request: gr.Request,
    content,
    style,
    visit: Visit,
    base: StyleSettings,
    kind: str,
    transparent: bool,
    *rest,
) -> Iterator[tuple]:
    """Paint from the beginning."""
    with readable_errors():
        styles, settings = _asked(style, base, rest)
        run = Run(content.info["path"], settings, describe(content, styles, settings))
        yield from _paint_on_page(options, queue, request, visit, run, content, styles, (kind, transparent))


def continue_event(
    options: Options,
    queue: RunQueue,
    request: gr.Request,
    visit: Visit,
    style,
    base: StyleSettings,
    kind: str,
    transparent: bool,
    *rest,
) -> Iterator[tuple]:
    """Go on from where the latest run stopped: its photo, with the paintings and settings as they now are."""
    with readable_errors():
        before = visit.finished_run()
        styles, settings = _asked(style, base, rest)
        settings = replace(settings, steps=_until(before, settings.steps))
        photo, state = before.read_photo(), before.read_last().state
        run = before.continued(settings, describe(photo, styles, settings), state)
        yield from _paint_on_page(
            options, queue, request, visit, run, photo, styles, (kind, transparent), resume=state
        )


def _asked(style, base: StyleSettings, rest: Sequence[Any]) -> tuple[list, StyleSettings]:
    """Paintings and settings; `rest` is further paintings with weights, the drawing, and the controls' values."""
    others, drawing, values = rest[: 2 * MORE], rest[2 * MORE], rest[2 * MORE + 1 :]
    return styles_of(style, others, drawing), settings_of(base, values)


def _paint_on_page(
    options: Options,
    queue: RunQueue,
    request: gr.Request,
    visit: Visit,
    run: Run,
    photo,
    styles,
    file: tuple[str, bool],
    **paint_options,
) -> Iterator[tuple]:
    """Yields what is shown while it paints: picture, status, losses, this visit, the file, the Continue button."""
    skip = gr.skip()
    by = "ZeroGPU" if zerogpu.PRESENT else computing(run.settings.device, run.settings.precision)
    yield skip, "Starting…", skip, skip, gr.DownloadButton(interactive=False), gr.Button(interactive=False)
    drawn = 0.0
    with closing(queue.paint(request.session_hash, photo, styles, run.settings, **paint_options)) as steps:
        for step in steps:
            if isinstance(step, str):
                yield skip, step, skip, skip, skip, skip
                continue
            run.add(step)
            if step.image is not None and step.state is None:
                due = step.seconds - drawn >= losses.SECONDS
                drawn = step.seconds if due else drawn
                status = f"{words.progress(step)}\n{by}"
                yield step.image, status, losses.table(run.losses) if due else skip, skip, skip, skip
    if run.last is None or isinstance(step, str):
        yield skip, "Stopped before it began.", skip, skip, skip, gr.Button(interactive=visit.run is not None)
        return
    path = visit.finish(run)
    if file != ("PNG", False):
        path = run.save(*file)
    download = gr.DownloadButton(value=str(path), interactive=True)
    status = f"{words.ending(step, options.time_limit)}\n{words.afterwards(run.recipe) or by}"
    yield step.image, status, losses.table(run.losses), visit, download, gr.Button(interactive=True)


def finished_event(visit: Visit, steps: int) -> tuple:
    """Before and after, the stages, this visit's pictures, how far Continue would go, and the result for a photo."""
    run = visit.run
    if run is None:
        return (gr.skip(),) * 6
    with readable_errors():
        compared = pair(run.read_photo(), run.read_picture())
    film, more = run.film, continue_button(run, steps)
    return compared, scrubber_for(film), film.frame(-1), pictures(visit), more, gr.Button(interactive=True)


def continue_label_event(visit: Visit, steps: int):
    return continue_button(visit.run, steps) if visit.run else gr.skip()


def continue_button(run: Run, steps: int) -> gr.Button:
    return gr.Button(f"Continue to {_until(run, steps)}")


def _until(run: Run, steps: int) -> int:
    """As far as the setting asks, or `MORE_STEPS` further if the run is there already."""
    done = run.last.step
    return int(steps) if steps > done else done + MORE_STEPS


def stop_event(queue: RunQueue, request: gr.Request) -> Any:
    """End this visitor's run after its current step and keep the picture; what the status says if there is none."""
    return gr.skip() if queue.stop(request.session_hash) else "Nothing is being painted yet."


def failed_event(visit: Visit) -> tuple:
    """What is shown when a run did not end well; the message itself stands beside it."""
    there = visit.run is not None
    status = "The run ended early: see the message, mend it and try again."
    return status, gr.DownloadButton(interactive=there), gr.Button(interactive=there)
