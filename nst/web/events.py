"""The page's events: which component calls which function, and what the function changes."""

from functools import partial

import gradio as gr
from gradio.components import Component

from nst.web.controls import CONTROLS
from nst.web.downloads import make_film, prepare_download
from nst.web.gallery import latest_as_photo, select_item, selected_as_photo
from nst.web.inputs import check_pictures
from nst.web.network_tab import LookEvents
from nst.web.options import Options
from nst.web.page import Page
from nst.web.preset_times import connect_preset_times
from nst.web.restore import (
    apply_link,
    choose_preset,
    make_query,
    restore_from_file,
    restore_from_gallery,
    show_settings_of_run,
)
from nst.web.run_queue import RunQueue
from nst.web.runs import FAILED, RunEvents, RunOutputs, label_resume_button, show_failed, show_finished
from nst.web.stage_slider import clamp_to_slider, show_stage
from nst.web.status import NOTHING_TO_STOP
from nst.web.strength import StrengthEvents
from nst.web.variations import VariationEvents
from nst.web.video_tab import VideoEvents
from nst.web.videos import VideoRuns

PRIVATE = {"api_visibility": "private"}
WITHOUT_QUEUE = {"queue": False, "show_progress": "hidden", **PRIVATE}  # such events show no errors and no warnings
AT_ONCE = {"concurrency_limit": None, "show_progress": "hidden", **PRIVATE}
# Reloading the page ends a run. The tab remembers that there was one, so that the page can say so afterwards.
# On a phone the picture is below the button: it is brought into view.
REMEMBER_RUN = """() => {
  sessionStorage.setItem('painting', 'yes');
  const pictures = document.querySelectorAll('#content img, #style img');
  if (innerWidth <= 768 && pictures.length >= 2) document.querySelector('#views').scrollIntoView();
}"""
FORGET_RUN = "() => { sessionStorage.removeItem('painting'); }"
EXPLAIN_RELOAD = """(status) => {
  if (!sessionStorage.getItem('painting')) return status;
  sessionStorage.removeItem('painting');
  return 'Reloading the page has ended your run. Press Stylize to start again.';
}"""
COMPLETE_LINK = "(query) => location.origin + location.pathname + '?' + query"


def connect(demo: gr.Blocks, page: Page, options: Options, queue: RunQueue) -> None:
    """Connect all components of the page. This must be called inside the page's Blocks."""
    run_limits = {"concurrency_id": "painting", "concurrency_limit": options.concurrency, **PRIVATE}

    def stop(request: gr.Request):
        """End this visitor's run after its current step, with its picture. Return a status if there is no run."""
        return gr.skip() if queue.stop(request.session_hash) else NOTHING_TO_STOP

    stops = ((page.inputs.stop, page.results.status), (page.video.stop, page.video.status),
             (page.network.stop, page.network.status))  # fmt: skip
    for button, status in stops:
        button.click(stop, None, status, **WITHOUT_QUEUE)
    _connect_runs(demo, page, options, queue, run_limits)
    _connect_settings(demo, page, options, queue)
    _connect_results(page)
    VideoEvents(VideoRuns(options, queue), page.video, options).connect(run_limits)
    _connect_network_tab(page, queue, run_limits)


def _connect_runs(demo: gr.Blocks, page: Page, options: Options, queue: RunQueue, run_limits: dict) -> None:
    inputs, results = page.inputs, page.results
    outputs = RunOutputs(results.picture, results.status, results.numbers, results.losses, page.session,
                         results.download, inputs.resume)  # fmt: skip
    run_events = RunEvents(options, queue, outputs)
    values = _run_inputs(page)
    without_photo = {name: component for name, component in values.items() if name != "content"}
    run_options = {"outputs": list(vars(outputs).values()), "show_progress": "minimal",
                   "show_progress_on": [results.status], **run_limits}  # fmt: skip
    for begin in (inputs.start.click, inputs.resume.click, results.enlarge.click, page.variations.gallery.select):
        begin(None, js=REMEMBER_RUN)  # Gradio would call a later listener only after the run
    start = inputs.start.click(run_events.start, inputs_kwargs=values, validator=check_pictures, **run_options)
    resume = inputs.resume.click(run_events.resume, inputs_kwargs=without_photo, **run_options)
    steps = inputs.controls["steps"]
    finished = [results.comparison, results.stage_slider, results.stage, page.gallery.gallery, inputs.resume,
                results.use_as_photo, results.enlarge]  # fmt: skip
    show_all_finished = partial(show_finished, max_size=options.max_size)
    strength_events = StrengthEvents(run_events.strengths)
    enlarge = results.enlarge.click(run_events.enlarge, inputs_kwargs=without_photo, **run_options)
    enlarge.success(show_settings_of_run, page.session, setting_outputs(page), **WITHOUT_QUEUE)
    chosen = _connect_variations(page, queue, values, options.styles, run_limits)
    start_chosen = chosen.success(run_events.start, inputs_kwargs=values, **run_options)
    for run in (start, resume, enlarge, start_chosen):
        run.success(show_all_finished, [page.session, steps], finished, **WITHOUT_QUEUE)
        run.success(strength_events.prepare, page.session, None, **WITHOUT_QUEUE)
        run.success(None, js=FORGET_RUN)
        run.failure(show_failed, page.session, [results.status, results.download, inputs.resume], **WITHOUT_QUEUE)
        run.failure(None, js=FORGET_RUN)
    _connect_strength(page, strength_events)
    steps.change(label_resume_button, [page.session, steps], inputs.resume, **WITHOUT_QUEUE)
    demo.load(None, results.status, results.status, js=EXPLAIN_RELOAD)


def _run_inputs(page: Page) -> dict[str, Component]:
    """Return the arguments of `RunEvents.start` by name."""
    inputs, results = page.inputs, page.results
    return {
        "content": inputs.content,
        "style": inputs.style,
        "saved_style": inputs.saved_style,
        "session": page.session,
        "base": page.base,
        "kind": results.file_kind,
        "transparent": results.transparent,
        "strength": results.strength,
        **{name: getattr(inputs.regions, name) for name in ("drawing", "rest", "part", "part_loaded")},
        **{name: getattr(inputs.mixing, name) for name in ("mix", "artist")},
        **{f"style_{number}": painting.picture for number, painting in inputs.mixing.more_paintings.items()},
        **{f"weight_{number}": painting.weight for number, painting in inputs.mixing.more_paintings.items()},
        **inputs.controls,
    }


def _connect_strength(page: Page, events: StrengthEvents) -> None:
    results = page.results
    latest = {"trigger_mode": "always_last", "js": clamp_to_slider("strength")}
    shown = results.strength.change(
        events.show, [page.session, results.strength], [results.picture, results.download], **latest, **WITHOUT_QUEUE
    )
    keep = (events.keep, [page.session, results.strength, results.file_kind, results.transparent],
            [page.session, results.download, results.comparison, page.gallery.gallery])  # fmt: skip
    shown.success(*keep, **latest, **AT_ONCE)
    shown.failure(*keep, **latest, **AT_ONCE)  # it fails too, and says why


def _connect_variations(page: Page, queue: RunQueue, values: dict, styles_folder: str, run_limits: dict):
    """Connect the variations; return the event of a click on one, after which it is to be painted."""
    panel, status = page.variations, page.results.status
    events = VariationEvents(queue, panel, status, styles_folder)
    wanted = {"session", "kind", "transparent", "strength"}  # are for the result of a run
    inputs = {name: component for name, component in values.items() if name not in wanted}
    painted = panel.start.click(
        events.paint, inputs_kwargs=inputs, outputs=[panel.gallery, panel.settings, status], validator=check_pictures,
        show_progress="minimal", show_progress_on=[status], **run_limits)  # fmt: skip
    painted.failure(lambda: FAILED, None, status, **WITHOUT_QUEUE)
    return panel.gallery.select(events.choose, panel.settings, setting_outputs(page), **WITHOUT_QUEUE)


def setting_outputs(page: Page) -> list:
    """Return the components that show settings, in the order of `nst.web.restore`."""
    controls = [page.inputs.controls[name] for name in CONTROLS]
    return [page.inputs.preset, page.base, page.results.strength, *controls]


def _connect_settings(demo: gr.Blocks, page: Page, options: Options, queue: RunQueue) -> None:
    inputs = page.inputs
    settings = setting_outputs(page)

    def apply_address(request: gr.Request) -> list:
        return apply_link(request.query_params, options.max_size)

    demo.load(apply_address, None, settings, **AT_ONCE)
    connect_preset_times(demo, inputs.preset, options.max_size, queue)
    inputs.preset.input(choose_preset, inputs.preset, settings, **WITHOUT_QUEUE)
    from_file = partial(restore_from_file, max_size=options.max_size)
    inputs.result_file.upload(from_file, inputs.result_file, settings, **AT_ONCE)
    from_gallery = partial(restore_from_gallery, max_size=options.max_size)
    page.gallery.use_settings.click(from_gallery, [page.session, page.selected], settings, **AT_ONCE)
    values = {"base": page.base, "preset": inputs.preset, "strength": page.results.strength, **inputs.controls}
    link = inputs.make_link.click(make_query, inputs_kwargs=values, outputs=inputs.link, **AT_ONCE)
    link.success(None, inputs.link, inputs.link, js=COMPLETE_LINK)


def _connect_results(page: Page) -> None:
    inputs, results, gallery = page.inputs, page.results, page.gallery
    pictures = [inputs.content, inputs.style]
    inputs.swap.click(None, pictures, pictures, js="(photo, painting) => [painting, photo]")
    inputs.regions.connect(inputs.content, inputs.style, AT_ONCE)
    results.use_as_photo.click(latest_as_photo, page.session, inputs.content, **AT_ONCE)
    results.stage_slider.change(show_stage, [page.session, results.stage_slider], results.stage,
                                trigger_mode="always_last", js=clamp_to_slider("scrubber"),
                                **WITHOUT_QUEUE)  # fmt: skip
    for button, suffix in ((results.make_webp, ".webp"), (results.make_mp4, ".mp4")):
        button.click(partial(make_film, suffix), page.session, results.film, **PRIVATE)
    gr.on([results.file_kind.input, results.transparent.input], prepare_download,
          [page.session, results.file_kind, results.transparent], results.download,
          trigger_mode="always_last", **AT_ONCE)  # fmt: skip
    gallery.gallery.select(select_item, page.session, [page.selected, gallery.description, gallery.download], **AT_ONCE)
    gallery.use_as_photo.click(selected_as_photo, [page.session, page.selected], inputs.content, **AT_ONCE)


def _connect_network_tab(page: Page, queue: RunQueue, run_limits: dict) -> None:
    tab, inputs = page.network, page.inputs
    look_events = LookEvents(queue, tab)
    outputs = [tab.status, tab.photo_maps, tab.photo_view, tab.painting_maps, tab.painting_view]
    tab.look.click(look_events.look, [inputs.content, inputs.style, tab.layer, inputs.controls["backbone"]], outputs,
                   show_progress="hidden", **run_limits)  # fmt: skip
