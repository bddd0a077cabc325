"""What the network sees: its feature maps, what its layers keep of a picture, and how it was trained."""

from collections.abc import Iterator
from contextlib import closing

import gradio as gr
import pandas as pd  # comes with gradio, which draws from its tables
from PIL import Image

from nst import StyleTransferError, feature_maps, reconstruct, synthesise
from nst.layers import LAYERS
from nst.models.card import training_record
from nst.models.checkpoints import bundled_checkpoint, read_metadata
from nst.web.errors import readable_errors
from nst.web.run_queue import PREVIEW_SECONDS, RunQueue

MAPS = 8  # of the strongest, for each picture
COLOURS = {"training": "#8a8a8a", "test": "#ea580c"}
STEPS = 100  # of the two pictures from noise
INTRODUCTION = (
    "A style transfer is made of what a network for naming things sees. Choose one of its layers: the maps show where "
    "its strongest channels answer, white is most. Then, from noise, one picture is painted that looks like the photo "
    "to that layer alone, and one that has the painting's style to the layers up to it."
)


def network_tab() -> list[gr.components.Component]:
    """Lay out the tab; layer, look, stop, status, and what `look_event` fills after the status."""
    gr.Markdown(INTRODUCTION)
    with gr.Row(elem_id="looking"):
        layer = gr.Dropdown(LAYERS, value="conv3_1", label="Layer", elem_id="layer", scale=2,
                            info="conv1_1 is next to the pixels, conv5_4 is furthest from them.")  # fmt: skip
        look = gr.Button("Look", variant="primary", elem_id="look", scale=1, min_width=120)
        halt = gr.Button("Stop", variant="stop", elem_id="stop_looking", scale=1, min_width=90)
    status = gr.Textbox("Uses the photo and the painting of the first tab.", label="Status", elem_id="look_status",
                        interactive=False, lines=1, max_lines=1)  # fmt: skip
    shown = []
    with gr.Row():
        for name, title, source in (("photo", "Photo", "The photo"), ("painting", "Painting", "The painting")):
            with gr.Column(min_width=300):
                shown.append(gr.Gallery(label=f"{title}: strongest maps", columns=4, height=350, object_fit="contain",
                                        allow_preview=True, interactive=False, buttons=[],
                                        elem_id=f"{name}_maps"))  # fmt: skip
                what = "what the layer keeps of it" if name == "photo" else "its style, as these layers know it"
                shown.append(gr.Image(label=f"{title}: {what}", format="jpeg", interactive=False, height=260,
                                      buttons=[], elem_id=f"{name}_seen",
                                      alt_text=f"{source}: {what}"))  # fmt: skip
    training_curves()
    return [layer, look, halt, status, *shown]


def look_event(
    queue: RunQueue,
    request: gr.Request,
    content: Image.Image | None,
    style: Image.Image | None,
    layer: str,
    backbone: str,
) -> Iterator[tuple]:
    """Yields status, the photo's maps, the photo as the layer keeps it, and the same two of the painting."""
    skip = gr.skip()
    with readable_errors():
        if content is None or style is None:
            raise StyleTransferError("Add a photo and a painting in the first tab.")
        maps = [
            [(image, f"channel {channel}") for channel, image in feature_maps(picture, layer, backbone, MAPS)]
            for picture in (content, style)
        ]
        yield f"The {MAPS} strongest channels of {layer}", maps[0], None, maps[1], None
        layers = LAYERS[: LAYERS.index(layer) + 1]
        up_to = [one for one in layers if one.endswith("_1")]
        views = (
            (f"Photo, from {layer} alone", 0, (reconstruct, content, layer)),
            (f"Style of {', '.join(up_to)}", 1, (synthesise, style, up_to)),
        )
        for title, place, (view, *inputs) in views:
            options = {"backbone": backbone, "steps": STEPS, "preview_every": PREVIEW_SECONDS}
            with closing(queue.run_when_free(request.session_hash, view, *inputs, **options)) as steps:
                for step in steps:
                    if isinstance(step, str):
                        yield step, *[skip] * 4
                    elif step.image is not None:
                        images = [step.image if number == place else skip for number in (0, 1)]
                        yield f"{title}: step {step.step} of {step.steps}", skip, images[0], skip, images[1]
            if isinstance(step, str) or step.step < step.steps:
                yield "Stopped", *[skip] * 4
                return
        yield f"Done: {layer}", *[skip] * 4


def training_curves() -> None:
    """Lay out what is known of the bundled checkpoint's training."""
    curve, superclasses = training_record(bundled_checkpoint())
    with gr.Accordion("The network that looks at your pictures", open=False, elem_id="network"):
        gr.Markdown(_about_network())
        with gr.Row():
            for key, title in (("top1", "Top-1 in %"), ("loss", "Cross entropy")):
                gr.LinePlot(
                    points(curve, key),
                    x="epoch", y="value", color="pictures", x_title="epoch", y_title=title, height=300,
                    buttons=[], color_map=COLOURS, color_title=" ", elem_id=f"curve_{key}",
                    label=f"{title} by epoch (grey: training, orange: test)",
                )  # fmt: skip
        rates = {name: percent / 100 for name, percent in superclasses.items()}
        gr.Label(rates, num_top_classes=20, show_heading=False, label="Test pictures named rightly, by kind",
                 elem_id="superclasses")  # fmt: skip


def points(curve: list[dict], key: str) -> pd.DataFrame:
    """`key` of training and test by epoch, in long form; what a row does not say is left out."""
    found = [
        (row["epoch"], name, row[f"{split}_{key}"])
        for split, name in (("train", "training"), ("test", "test"))
        for row in curve
        if f"{split}_{key}" in row
    ]
    return pd.DataFrame(found, columns=["epoch", "pictures", "value"])


def _about_network() -> str:
    metadata = read_metadata(bundled_checkpoint())
    count = len(metadata["classes"])
    learnt = f"{metadata['pictures']:,} photos" if "pictures" in metadata else "photos"
    return (
        f"A VGG19 that learnt to name {learnt} of {count} kinds of things ({metadata['dataset']}), in "
        f"{metadata['epochs']} epochs, from nothing. Of pictures it has never seen it names {metadata.get('top1')} % "
        f"rightly; chance would be {100 / count:.0f} %."
    )
