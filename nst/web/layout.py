"""The page's layout: every component and its place. `nst.web.events` connects them."""

import gradio as gr

from nst import DEFAULT_PRESET, PRESETS
from nst.web.api import add_api
from nst.web.compare import compare_slider
from nst.web.controls import controls_for
from nst.web.events import connect
from nst.web.examples import PAINTING_PATHS, PHOTO_PATHS, example_row, serve_in_place
from nst.web.gallery import gallery
from nst.web.inputs import Picture
from nst.web.loss_plot import loss_plot
from nst.web.mixing import mixing
from nst.web.network_tab import network_tab
from nst.web.options import Options
from nst.web.page import GalleryPanel, Inputs, Page, Results
from nst.web.regions import regions
from nst.web.run_queue import RunQueue
from nst.web.session import FILE_KINDS, Session
from nst.web.strength import strength_slider
from nst.web.styles import style_menu
from nst.web.variations import VariationsPanel, variations_panel
from nst.web.video_tab import video_tab

INTRODUCTION = "# Neural style transfer\nGive a photo and a painting, and watch the photo become a painting."
PRESET_INFO = (
    "quick: a first look. fine: larger. classic: the recipe of the literature, at 224 px. covariance: no sketch. "
    "The times are estimates for this computer."
)
WELCOME = "Add a photo and a painting, or click an example of each below them, then press Stylize."
PRIVACY = "Your pictures and clips go only to the server that runs this page, and are deleted there after an hour."
LOSSES_HELP = "The losses say how far the picture is from the photo's content and from the painting's style."
GALLERY_HELP = "Finished pictures are collected here; click one to see its settings."


def build(options: Options, queue: RunQueue) -> gr.Blocks:
    """Return the page with its events and its API."""
    serve_in_place()
    with gr.Blocks(title="Neural style transfer") as demo:
        session, base, selected = gr.State(Session()), gr.State(PRESETS[DEFAULT_PRESET]), gr.State(None)
        gr.Markdown(INTRODUCTION, elem_id="title")
        with gr.Tabs():
            with gr.Tab("Paint", elem_id="tab_paint"):
                with gr.Row(elem_id="work"):
                    with gr.Column(scale=5, min_width=320, elem_id="inputs"):
                        inputs, variations = _lay_out_inputs(options)
                    with gr.Column(scale=6, min_width=320, elem_id="results"):
                        results = _lay_out_results()
                gallery_panel = _lay_out_gallery()
            with gr.Tab("Film", elem_id="tab_film"):
                video = video_tab(options)
            with gr.Tab("What the network sees", elem_id="tab_network"):
                network = network_tab()
        gr.Markdown(PRIVACY, elem_id="privacy")
        page = Page(inputs, results, gallery_panel, variations, video, network, session, base, selected)
        connect(demo, page, options, queue)
        add_api(options, queue, concurrency_id="painting", concurrency_limit=options.concurrency)
    return demo.queue(max_size=options.queue_size)


def _lay_out_inputs(options: Options) -> tuple[Inputs, VariationsPanel]:
    upload = {"height": 230, "buttons": [], "elem_classes": "picture_field"}
    with gr.Row(elem_id="pictures"):
        content = Picture(label="Photo", elem_id="content", alt_text="The photo to paint",
                          sources=["upload", "clipboard", "webcam"],
                          webcam_options=gr.WebcamOptions(mirror=False), **upload)  # fmt: skip
        style = Picture(label="Painting", elem_id="style", alt_text="The painting to learn from",
                        sources=["upload", "clipboard"], **upload)  # fmt: skip
    content.read_at_once()
    style.read_at_once()
    example_row(PHOTO_PATHS, content, "Photos to try:", "example_photos")
    example_row(PAINTING_PATHS, style, "Paintings to try:", "example_paintings")
    saved_style = style_menu(options.styles)
    preset = gr.Radio(list(PRESETS), value=DEFAULT_PRESET, label="Preset", info=PRESET_INFO, elem_id="preset")
    with gr.Row(equal_height=True, elem_id="run"):
        start = gr.Button("Stylize", variant="primary", elem_id="stylize", scale=3, min_width=120)
        stop = gr.Button("Stop", variant="stop", elem_id="stop", scale=1, min_width=80)
        resume = gr.Button("Continue", interactive=False, elem_id="continue", scale=2, min_width=120)
    variations = variations_panel()
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        swap = gr.Button("Swap photo and painting", elem_id="swap", size="sm")
        with gr.Row(elem_id="controls"):
            defaults = PRESETS[DEFAULT_PRESET]
            controls = {
                name: control.build(getattr(defaults, name)) for name, control in controls_for(options.max_size).items()
            }
        with gr.Accordion("Several paintings", open=False, elem_id="several"):
            more_paintings = mixing()
        places = regions()
        with gr.Accordion("Keep and restore settings", open=False, elem_id="restoring"):
            result_file = gr.File(label="Settings from a result (PNG or TIFF)", file_types=[".png", ".tif", ".tiff"],
                                  height=120, elem_id="restore")  # fmt: skip
            with gr.Row():
                make_link = gr.Button("Link to these settings", elem_id="make_link", scale=1, min_width=140)
                link = gr.Textbox(label="Link", interactive=False, buttons=["copy"], elem_id="link", scale=2,
                                  info="Opens the page with these settings, without the pictures.")  # fmt: skip
    inputs = Inputs(content, style, preset, start, stop, resume, swap, controls, more_paintings, places, result_file,
                    make_link, link, saved_style)  # fmt: skip
    return inputs, variations


def _lay_out_results() -> Results:
    picture_options = {"format": "jpeg", "interactive": False}
    with gr.Tabs(elem_id="views"):
        with gr.Tab("Picture", id="picture"):
            picture = gr.Image(label="Result", elem_id="output", buttons=["fullscreen"], height=500,
                               alt_text="The painted photo", **picture_options)  # fmt: skip
        with gr.Tab("Before and after", id="compare"):
            comparison = compare_slider()
        with gr.Tab("Step by step", id="stages"):
            stage = gr.Image(label="Stage", elem_id="stage", buttons=[], alt_text="A stage of the painting",
                             height=380, **picture_options)  # fmt: skip
            stage_slider = gr.Slider(1, 2, 1, step=1, label="Stage", elem_id="scrubber", interactive=False,
                                     info="From the first picture to the last.")  # fmt: skip
            with gr.Row():
                make_webp = gr.Button("Animated WebP", elem_id="make_webp", size="sm")
                make_mp4 = gr.Button("MP4 film", elem_id="make_mp4", size="sm")
            film = gr.File(label="Film", interactive=False, visible=False, elem_id="film")
    status = gr.Textbox(WELCOME, label="Status", interactive=False, elem_id="status", lines=2, max_lines=2,
                        show_label=False, container=False)  # fmt: skip
    with gr.Row(elem_id="saving"):
        download = gr.DownloadButton("Download", variant="primary", interactive=False, elem_id="download",
                                     min_width=120, scale=2)  # fmt: skip
        file_kind = gr.Dropdown(list(FILE_KINDS), value="PNG", label="Kind of file", elem_id="kind", filterable=False,
                                show_label=False, container=False, min_width=140)  # fmt: skip
        transparent = gr.Checkbox(label="Keep transparency", elem_id="transparent", container=False, scale=0)
    strength = strength_slider()
    with gr.Row(elem_id="going_on"):
        use_as_photo = gr.Button("Use result as photo", interactive=False, elem_id="as_photo", min_width=120)
        enlarge = gr.Button("Enlarge", interactive=False, elem_id="enlarge", min_width=120)
    with gr.Accordion("Losses", open=False, elem_id="loss_chart"):
        numbers = gr.Markdown(LOSSES_HELP, elem_id="numbers")
        losses = loss_plot()
    return Results(picture, comparison, stage, stage_slider, make_webp, make_mp4, film, status, numbers, losses,
                   download, use_as_photo, enlarge, strength, file_kind, transparent)  # fmt: skip


def _lay_out_gallery() -> GalleryPanel:
    with gr.Accordion("Pictures of this visit", open=False, elem_id="visit"):
        pictures = gallery()
        description = gr.Markdown(GALLERY_HELP, elem_id="about")
        with gr.Row():
            use_settings = gr.Button("Use its settings", elem_id="reuse", size="sm")
            use_as_photo = gr.Button("Use as photo", elem_id="chosen_as_photo", size="sm")
            download = gr.DownloadButton("Download PNG", interactive=False, elem_id="download_chosen", size="sm")
    return GalleryPanel(pictures, description, use_settings, use_as_photo, download)
