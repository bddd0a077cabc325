"""The tab "What the network sees": feature maps, pictures as layers represent them, and the network's training."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import gradio as gr
import pandas as pd  # comes with Gradio, whose plots take its tables
from PIL import Image

from nst import StyleTransferError, feature_maps, reconstruct, synthesize
from nst.examples import VIEWED_LAYER, VIEWED_LAYERS, from_noise_path, map_paths
from nst.layers import LAYERS
from nst.models.card import training_record
from nst.models.checkpoints import bundled_checkpoint, read_metadata
from nst.web.errors import readable_errors
from nst.web.run_queue import PREVIEW_SECONDS, RunQueue

MAPS = 8  # strongest feature maps shown of each picture
STEPS = 100  # of the two pictures that are painted from noise
COLOURS = {"training": "#8a8a8a", "test": "#ea580c"}
INTRODUCTION = """
**What is a feature map?** The network passes a picture through 16 layers, one after the other. Each layer has 64 to 512
*channels*, and each channel looks for one thing everywhere in the picture: an edge, a colour, a texture. Its *feature
map* shows where it finds that thing: white where it finds most of it, black where it finds none.

**Why do shallow layers hold strokes, and deep layers things?** One point of a map of conv1_1 depends on 3 x 3 pixels,
and so little can only be an edge or a colour. Every layer looks at the maps of the layer before it, so that the parts
grow: 24 x 24 pixels at conv3_1, which can be a brush stroke or an ear's tip, and 156 x 156 at conv5_1, which can be a
face. Deep layers know what is there, but no longer exactly where and in which colour.

**What do the two pictures from noise show?** Both begin as noise, and are changed until the network sees in them what
it sees in your pictures. The first has the photo's *content*: the chosen layer gives it the same feature maps as the
photo. The second has the painting's *style*: its maps are white at the same places as often as the painting's maps,
wherever these places are. What you miss in these two pictures, the layers do not hold. A style transfer wants both at
once: the content of a photo and the style of a painting.
"""
EXAMPLE = f"An example, at {VIEWED_LAYER}. Press Look to see your own pictures."


@dataclass(frozen=True)
class NetworkTab:
    """The components of the tab."""

    layer: gr.Dropdown
    look: gr.Button
    stop: gr.Button
    status: gr.Textbox
    photo_maps: gr.Gallery
    photo_view: gr.Image
    painting_maps: gr.Gallery
    painting_view: gr.Image


def network_tab() -> NetworkTab:
    """Lay out the tab."""
    gr.Markdown(INTRODUCTION)
    with gr.Row(elem_id="looking"):
        layer = gr.Dropdown(LAYERS, value=VIEWED_LAYER, label="Layer", elem_id="layer", scale=2, min_width=280,
                            info="conv1_1 is closest to the pixels, conv5_4 is deepest in the network.")  # fmt: skip
        look = gr.Button("Look", variant="primary", elem_id="look", scale=1, min_width=120)
        stop = gr.Button("Stop", variant="stop", elem_id="stop_looking", scale=1, min_width=90)
    status = gr.Textbox(EXAMPLE, label="Status", elem_id="look_status", interactive=False, lines=1, max_lines=2)
    with gr.Column(elem_id="network_views", elem_classes="whole_gallery"):
        with gr.Row():
            with gr.Column(min_width=300):
                photo_maps, photo_view = _views("photo", "Photo", "its content, from noise")
            with gr.Column(min_width=300):
                painting_maps, painting_view = _views("painting", "Painting", "its style, from noise")
        _depths("photo", "The example's content")
        _depths("painting", "The example's style")
    _training_record()
    return NetworkTab(layer, look, stop, status, photo_maps, photo_view, painting_maps, painting_view)


def _views(name: str, title: str, description: str) -> tuple[gr.Gallery, gr.Image]:
    """Lay out the maps of a picture and its picture from noise; they show the example until *Look* is pressed."""
    example = [(str(path), f"channel {path.stem.rpartition('_')[2]}") for path in map_paths(name)]
    maps = gr.Gallery(example, label=f"{title}: strongest maps", columns=4, object_fit="contain",
                      allow_preview=True, interactive=False, buttons=[], elem_id=f"{name}_maps")  # fmt: skip
    view = gr.Image(str(from_noise_path(name, VIEWED_LAYER)), label=f"{title}: {description}", format="jpeg",
                    interactive=False, height=260, buttons=[], elem_id=f"{name}_seen",
                    alt_text=f"The {name}: {description}")  # fmt: skip
    return maps, view


def _depths(name: str, title: str) -> None:
    """Lay out the example's pictures from noise at layers from shallow to deep."""
    pictures = [(str(from_noise_path(name, layer)), layer) for layer in VIEWED_LAYERS]
    gr.Gallery(pictures, label=f"{title}, from shallow to deep", columns=len(pictures), buttons=[],
               object_fit="contain", allow_preview=False, interactive=False, elem_id=f"{name}_depths",
               elem_classes="depths")  # fmt: skip


class LookEvents:
    """The events of the tab. Its generators yield {component: value} for the components that change."""

    def __init__(self, queue: RunQueue, tab: NetworkTab):
        self.queue, self.tab = queue, tab

    def look(
        self, request: gr.Request, content: Image.Image | None, style: Image.Image | None, layer: str, backbone: str
    ) -> Iterator[dict]:
        """Show the feature maps of both pictures, then paint both views."""
        tab = self.tab
        with readable_errors():
            if content is None or style is None:
                raise StyleTransferError("Add a photo and a painting in the first tab.")
            yield {
                tab.status: f"The maps of the {MAPS} strongest channels of {layer}",
                tab.photo_maps: _captioned_maps(content, layer, backbone),
                tab.photo_view: None,
                tab.painting_maps: _captioned_maps(style, layer, backbone),
                tab.painting_view: None,
            }
            style_layers = style_layers_up_to(layer)
            for title, component, arguments in (
                (f"Photo, from {layer} alone", tab.photo_view, (reconstruct, content, layer)),
                (f"Style of {', '.join(style_layers)}", tab.painting_view, (synthesize, style, style_layers)),
            ):
                options = {"backbone": backbone, "steps": STEPS, "preview_every": PREVIEW_SECONDS}
                with closing(self.queue.run_when_free(request.session_hash, *arguments, **options)) as steps:
                    for step in steps:
                        if isinstance(step, str):  # a sentence about the wait
                            yield {tab.status: step}
                        elif step.image is not None:
                            yield {tab.status: f"{title}: step {step.step} of {step.steps}", component: step.image}
                if isinstance(step, str) or step.step < step.steps:
                    yield {tab.status: "Stopped"}
                    return
            yield {tab.status: f"Done: {layer}"}


def style_layers_up_to(layer: str) -> list[str]:
    """Return the first layer of every block, up to `layer`: they see the style at every size."""
    return [name for name in LAYERS[: LAYERS.index(layer) + 1] if name.endswith("_1")]


def _captioned_maps(picture: Image.Image, layer: str, backbone: str) -> list[tuple[Image.Image, str]]:
    return [(image, f"channel {channel}") for channel, image in feature_maps(picture, layer, backbone, MAPS)]


def _training_record() -> None:
    """Lay out how the bundled checkpoint was trained."""
    curve, superclasses = training_record(bundled_checkpoint())
    with gr.Accordion("The network that looks at your pictures", open=False, elem_id="network"):
        gr.Markdown(_about_network())
        with gr.Row():
            for key, title in (("top1", "Top-1 in %"), ("loss", "Cross entropy")):
                gr.LinePlot(
                    _curve_table(curve, key),
                    x="epoch", y="value", color="pictures", x_title="epoch", y_title=title, height=300,
                    buttons=[], color_map=COLOURS, color_title=" ", elem_id=f"curve_{key}",
                    label=f"{title} by epoch (grey: training, orange: test)",
                )  # fmt: skip
        rates = {name: percent / 100 for name, percent in superclasses.items()}
        gr.Label(rates, num_top_classes=20, show_heading=False, label="Test pictures named correctly, by superclass",
                 elem_id="superclasses")  # fmt: skip


def _curve_table(curve: list[dict], key: str) -> pd.DataFrame:
    """Return one row for each epoch and split, for training and test; values that a row lacks are left out."""
    rows = [
        (row["epoch"], name, row[f"{split}_{key}"])
        for split, name in (("train", "training"), ("test", "test"))
        for row in curve
        if f"{split}_{key}" in row
    ]
    return pd.DataFrame(rows, columns=["epoch", "pictures", "value"])


def _about_network() -> str:
    metadata = read_metadata(bundled_checkpoint())
    classes = len(metadata["classes"])
    photos = f"{metadata['pictures']:,} photos" if "pictures" in metadata else "photos"
    return (
        f"This VGG19 was trained on {photos} of {classes} kinds of things ({metadata['dataset']}) for "
        f"{metadata['epochs']} epochs, from random weights. It names {metadata.get('top1')} % of new photos correctly; "
        f"guessing would be right for {100 / classes:.0f} %."
    )
