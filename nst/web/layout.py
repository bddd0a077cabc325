"""The page: its layout first, the wiring of its events below. Everything about painting is in `nst`."""

from functools import partial
from types import SimpleNamespace

import gradio as gr

from nst import DEFAULT_PRESET, PRESETS
from nst.web.api import add_api
from nst.web.compare import compare_slider
from nst.web.controls import CONTROLS, controls_for
from nst.web.downloads import file_event, film_event
from nst.web.examples import PAINTING_PATHS, PHOTO_PATHS, example_row, serve_in_place
from nst.web.gallery import chosen_as_photo_event, chosen_event, gallery, latest_event
from nst.web.losses import loss_plot
from nst.web.network import look_event, network_tab
from nst.web.options import Options
from nst.web.restoring import arrival_event, link_event, preset_event, restore_event, reuse_event
from nst.web.run_queue import RunQueue
from nst.web.running import continue_event, continue_label_event, failed_event, finished_event, start_event, stop_event
from nst.web.stages import WITHIN_ENDS, stage_event
from nst.web.styles import mask_editor, more_styles, to_paint_on
from nst.web.uploads import Picture, check_pictures
from nst.web.visit import FILES, Visit

INTRODUCTION = "# Neural style transfer\nGive a photo and a painting, and watch the photo become a painting."
PRESET_INFO = "classic: the literature's recipe at 224 px · quick: a first look · balanced · fine: larger, slower"
WELCOME = "Add two pictures, or click on two of those below them, then press Stylize."
PRIVACY = "Your pictures go to the server that runs this page, to nobody else, and are deleted there after an hour."
GALLERY = "Finished pictures are collected here; click one to see its settings."
PRIVATE = {"api_visibility": "private"}
AT_ONCE = {"queue": False, "show_progress": "hidden", **PRIVATE}  # errors and warnings would not be shown
SOON = {"concurrency_limit": None, "show_progress": "hidden", **PRIVATE}
# A run does not survive a reload of the page; the tab remembers that there was one, and says so.
RUN_BEGAN = "() => { sessionStorage.setItem('painting', 'yes'); }"
RUN_ENDED = "() => { sessionStorage.removeItem('painting'); }"
AFTER_RELOAD = """(status) => {
  if (!sessionStorage.getItem('painting')) return status;
  sessionStorage.removeItem('painting');
  return 'The page was loaded anew, which ended the run that was under way. Start it again.';
}"""
WHOLE_LINK = "(query) => location.origin + location.pathname + '?' + query"

# --- layout -----------------------------------------------------------------------------------------------------------


def build(options: Options, queue: RunQueue) -> gr.Blocks:
    """The page and its events."""
    painting = {"concurrency_id": "painting", "concurrency_limit": options.concurrency}

    def look_run(request: gr.Request, *values):
        yield from look_event(queue, request, *values)

    def stop_run(request: gr.Request):
        return stop_event(queue, request)

    serve_in_place()
    with gr.Blocks(title="Neural style transfer") as demo:
        state = SimpleNamespace(visit=gr.State(Visit()), base=gr.State(PRESETS[DEFAULT_PRESET]), chosen=gr.State(None))
        gr.Markdown(INTRODUCTION, elem_id="title")
        with gr.Tabs():
            with gr.Tab("Paint", elem_id="tab_paint"):
                with gr.Row(elem_id="work"):
                    with gr.Column(scale=5, min_width=320, elem_id="inputs"):
                        inputs = _lay_out_inputs(options)
                    with gr.Column(scale=6, min_width=320, elem_id="results"):
                        results = _lay_out_results()
                kept = _lay_out_gallery()
            with gr.Tab("What the network sees", elem_id="tab_network"):
                layer, look, halt, *seen = network_tab()
        gr.Markdown(PRIVACY, elem_id="privacy")
        _wire_runs(demo, options, queue, painting, state, inputs, results, kept)
        _wire_settings(demo, options, state, inputs, kept)
        _wire_results(state, inputs, results, kept)
        backbone = inputs.controls[[one.field for one in CONTROLS].index("backbone")]
        look.click(look_run, [inputs.content, inputs.style, layer, backbone], seen, **painting, **PRIVATE,
                   show_progress="hidden")  # fmt: skip
        halt.click(stop_run, None, seen[0], **AT_ONCE)
        add_api(options, queue, **painting)
    return demo.queue(max_size=options.queue_size)


def _lay_out_inputs(options: Options) -> SimpleNamespace:
    """The left half: pictures, the buttons, and everything under Advanced."""
    page = SimpleNamespace()
    upload = {"height": 230, "buttons": []}
    with gr.Row(elem_id="pictures"):
        page.content = Picture(label="Photo", elem_id="content", alt_text="The photo to paint",
                               sources=["upload", "clipboard", "webcam"], **upload)  # fmt: skip
        page.style = Picture(label="Painting", elem_id="style", alt_text="The painting to learn from",
                             sources=["upload", "clipboard"], **upload)  # fmt: skip
    page.content.refuse_at_once()
    page.style.refuse_at_once()
    example_row(PHOTO_PATHS, page.content, "Photos to try:", "example_photos")
    example_row(PAINTING_PATHS, page.style, "Paintings to try:", "example_paintings")
    page.preset = gr.Radio(list(PRESETS), value=DEFAULT_PRESET, label="Preset", info=PRESET_INFO, elem_id="preset")
    with gr.Row(equal_height=True, elem_id="run"):
        page.go = gr.Button("Stylize", variant="primary", elem_id="stylize", scale=3, min_width=120)
        page.halt = gr.Button("Stop", variant="stop", elem_id="stop", scale=1, min_width=80)
        page.more = gr.Button("Continue", interactive=False, elem_id="continue", scale=2, min_width=120)
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        page.swap = gr.Button("Swap photo and painting", elem_id="swap", size="sm")
        with gr.Row(elem_id="controls"):
            defaults = PRESETS[DEFAULT_PRESET]
            page.controls = [one.build(getattr(defaults, one.field)) for one in controls_for(options.max_size)]
        with gr.Accordion("Several paintings", open=False, elem_id="several"):
            page.others = more_styles()
        with gr.Accordion("Where to paint", open=False, elem_id="where"):
            gr.Markdown("Paint over the part of the photo that becomes a painting; the rest stays as it is, or takes "
                        "the other paintings' style if there are several.")  # fmt: skip
            page.take = gr.Button("Take the photo", elem_id="take", size="sm")
            page.drawing = mask_editor()
        with gr.Accordion("Keep and restore settings", open=False, elem_id="restoring"):
            page.restored = gr.File(label="Settings from a result (PNG or TIFF)", file_types=[".png", ".tif", ".tiff"],
                                    height=120, elem_id="restore")  # fmt: skip
            with gr.Row():
                page.linked = gr.Button("Link to these settings", elem_id="make_link", scale=1, min_width=140)
                page.link = gr.Textbox(label="Link", interactive=False, buttons=["copy"], elem_id="link", scale=2,
                                       info="Opens the page with these settings; pictures are not in it.")  # fmt: skip
    return page


def _lay_out_results() -> SimpleNamespace:
    """The right half: the picture as it grows, and what can be done with it afterwards."""
    page = SimpleNamespace()
    picture = {"format": "jpeg", "interactive": False, "height": 500}
    with gr.Tabs(elem_id="views") as page.views:
        with gr.Tab("Picture", id="picture"):
            page.output = gr.Image(label="Result", elem_id="output", buttons=["fullscreen"],
                                   alt_text="The painted photo", **picture)  # fmt: skip
        with gr.Tab("Before and after", id="compare"):
            page.compare = compare_slider()
        with gr.Tab("Stages", id="stages"):
            page.stage = gr.Image(label="Stage", elem_id="stage", buttons=[], alt_text="A stage of the painting",
                                  **(picture | {"height": 380}))  # fmt: skip
            page.scrubber = gr.Slider(1, 2, 1, step=1, label="Stage", elem_id="scrubber", interactive=False,
                                      info="From the first picture to the last.")  # fmt: skip
            with gr.Row():
                page.webp = gr.Button("Animated WebP", elem_id="make_webp", size="sm")
                page.mp4 = gr.Button("MP4 film", elem_id="make_mp4", size="sm")
            page.film = gr.File(label="Film", interactive=False, visible=False, elem_id="film")
    page.status = gr.Textbox(label="Status", interactive=False, elem_id="status", lines=3, max_lines=3, value=WELCOME)
    page.losses = loss_plot()
    with gr.Row(equal_height=True):
        page.download = gr.DownloadButton("Download", interactive=False, elem_id="download", min_width=120)
        page.as_photo = gr.Button("Use result as photo", interactive=False, elem_id="as_photo", min_width=120)
    with gr.Row(equal_height=True):
        page.kind = gr.Radio(list(FILES), value="PNG", label="File", elem_id="kind",
                             info="All are lossless and carry the recipe.")  # fmt: skip
        page.transparent = gr.Checkbox(label="Keep transparency", elem_id="transparent",
                                       info="Puts the photo's own back.")  # fmt: skip
    return page


def _lay_out_gallery() -> SimpleNamespace:
    """This visit's pictures."""
    page = SimpleNamespace()
    with gr.Accordion("Pictures of this visit", open=False, elem_id="visit"):
        page.gallery = gallery()
        page.about = gr.Markdown(GALLERY, elem_id="about")
        with gr.Row():
            page.reuse = gr.Button("Use its settings", elem_id="reuse", size="sm")
            page.as_photo = gr.Button("Use as photo", elem_id="chosen_as_photo", size="sm")
            page.download = gr.DownloadButton("Download PNG", interactive=False, elem_id="download_chosen", size="sm")
    return page


# --- wiring -----------------------------------------------------------------------------------------------------------


def _wire_runs(demo, options, queue, painting, state, inputs, results, kept) -> None:
    def start_run(request: gr.Request, *values):
        yield from start_event(options, queue, request, *values)

    def continue_run(request: gr.Request, *values):
        yield from continue_event(options, queue, request, *values)

    def stop_run(request: gr.Request):
        return stop_event(queue, request)

    rest = [state.base, results.kind, results.transparent, *inputs.others, inputs.drawing, *inputs.controls]
    outputs = [results.output, results.status, results.losses, state.visit, results.download, inputs.more]
    steps = inputs.controls[[one.field for one in CONTROLS].index("steps")]
    finished = [results.compare, results.scrubber, results.stage, kept.gallery, inputs.more, results.as_photo]
    for button, event, first in (
        (inputs.go, start_run, [inputs.content, inputs.style, state.visit]),
        (inputs.more, continue_run, [state.visit, inputs.style]),
    ):
        check = {"validator": check_pictures} if event is start_run else {}
        run = button.click(event, [*first, *rest], outputs, show_progress="minimal", show_progress_on=[results.status],
                           **check, **painting, **PRIVATE)  # fmt: skip
        button.click(None, js=RUN_BEGAN)
        run.success(finished_event, [state.visit, steps], finished, **AT_ONCE)
        run.success(None, js=RUN_ENDED)
        run.failure(failed_event, state.visit, [results.status, results.download, inputs.more], **AT_ONCE)
        run.failure(None, js=RUN_ENDED)
    inputs.halt.click(stop_run, None, results.status, **AT_ONCE)
    steps.change(continue_label_event, [state.visit, steps], inputs.more, **AT_ONCE)
    demo.load(None, results.status, results.status, js=AFTER_RELOAD)


def _wire_settings(demo, options, state, inputs, kept) -> None:
    def arrival(request: gr.Request):
        return arrival_event(options.max_size, request)

    settings = [inputs.preset, state.base, *inputs.controls]
    inputs.preset.input(preset_event, inputs.preset, settings, **AT_ONCE)
    inputs.restored.upload(partial(restore_event, options.max_size), inputs.restored, settings, **SOON)
    kept.reuse.click(partial(reuse_event, options.max_size), [state.visit, state.chosen], settings, **SOON)
    demo.load(arrival, None, settings, **SOON)
    inputs.linked.click(link_event, [state.base, inputs.preset, *inputs.controls], inputs.link, **SOON).success(
        None, inputs.link, inputs.link, js=WHOLE_LINK
    )


def _wire_results(state, inputs, results, kept) -> None:
    pictures = [inputs.content, inputs.style]
    inputs.swap.click(None, pictures, pictures, js="(photo, painting) => [painting, photo]")
    inputs.take.click(to_paint_on, inputs.content, inputs.drawing, **AT_ONCE)
    results.as_photo.click(latest_event, state.visit, inputs.content, **SOON)
    results.scrubber.change(stage_event, [state.visit, results.scrubber], results.stage,
                            trigger_mode="always_last", js=WITHIN_ENDS, **AT_ONCE)  # fmt: skip
    for button, suffix in ((results.webp, ".webp"), (results.mp4, ".mp4")):
        button.click(partial(film_event, suffix), state.visit, results.film, **PRIVATE)
    gr.on([results.kind.input, results.transparent.input], file_event,
          [state.visit, results.kind, results.transparent], results.download,
          trigger_mode="always_last", **SOON)  # fmt: skip
    kept.gallery.select(chosen_event, state.visit, [state.chosen, kept.about, kept.download], **SOON)
    kept.as_photo.click(chosen_as_photo_event, [state.visit, state.chosen], inputs.content, **SOON)
