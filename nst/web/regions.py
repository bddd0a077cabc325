"""Where each painting goes: an editor in which the visitor brushes over the photo, in one colour for each painting.

A second editor shows the first painting: there the visitor brushes where the style is taken from.
"""

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, ImageFilter

from nst import StyleTransferError
from nst.io.sizes import fitted_size
from nst.tools.subject import find_subject
from nst.web.errors import readable_errors

EDITOR_SIDE = 512  # px, long side of the picture that is brushed over
# By the number of the painting. Also people who see no red, no green or no blue tell them apart.
COLOURS = {1: (99, 102, 241), 2: (245, 190, 40), 3: (200, 60, 20)}
COLOUR_NAMES = {1: "indigo", 2: "yellow", 3: "red"}
OPACITY = 0.6  # of the brush
FAINT = 60  # of 255: a weaker pixel, at the edge of a stroke, is rounded so much that its colour is that around it
SHAPE_TOLERANCE = 0.03  # of the ratio of the sides, between a photo and its small copy in the editor
REST_STAYS, REST_IS_PAINTED = "stays as it is", "takes the paintings without a colour"
HELP = (
    "Brush over the photo. What is **indigo** takes the first painting, **yellow** takes painting 2, **red** takes "
    "painting 3. Press *Find the subject* to have it brushed in indigo: first brush a little of all its colours, or "
    "nothing to search the middle."
)
PART_HELP = "Brush where the style is taken from. The rest of the painting then plays no role."


@dataclass(frozen=True)
class Regions:
    """The components. loaded, part_loaded: the file of the picture that each editor shows, empty for none."""

    section: gr.Accordion
    take_photo: gr.Button
    find: gr.Button
    invert: gr.Button
    drawing: gr.ImageEditor
    rest: gr.Radio
    loaded: gr.State
    part_section: gr.Accordion
    take_painting: gr.Button
    part: gr.ImageEditor
    part_loaded: gr.State

    def connect(self, content: gr.Image, style: gr.Image, event_options: dict[str, Any]) -> None:
        """Connect the buttons, and load the pictures when a section is opened. content, style: the upload fields."""
        for section, button, picture, editor, loaded in (
            (self.section, self.take_photo, content, self.drawing, self.loaded),
            (self.part_section, self.take_painting, style, self.part, self.part_loaded),
        ):
            button.click(show_picture, picture, [editor, loaded], **event_options)
            section.expand(show_new_picture, [picture, loaded], [editor, loaded], **event_options)
        one_at_a_time = event_options | {"concurrency_limit": 1}  # it computes for a second or two
        shown = [self.drawing, self.loaded]
        self.find.click(brush_subject, [content, *shown], shown, **one_at_a_time)
        self.invert.click(invert_drawing, self.drawing, self.drawing, **event_options)


def regions() -> Regions:
    """Lay out both sections."""
    with gr.Accordion("Regions", open=False, elem_id="where") as section:
        gr.Markdown(HELP)
        with gr.Row():
            take_photo = gr.Button("Load the photo", elem_id="take", size="sm", min_width=100)
            find = gr.Button("Find the subject", elem_id="find", size="sm", min_width=100)
            invert = gr.Button("Invert", elem_id="invert", size="sm", min_width=100)
        drawing = _editor("Regions of the photo", list(COLOURS), height=420, elem_id="mask")
        rest = gr.Radio([REST_STAYS, REST_IS_PAINTED], value=REST_IS_PAINTED, label="What is not brushed",
                        info="With one painting it stays as it is.", elem_id="rest")  # fmt: skip
    with gr.Accordion("Part of the painting", open=False, elem_id="part_section") as part_section:
        gr.Markdown(PART_HELP)
        take_painting = gr.Button("Load the painting", elem_id="take_painting", size="sm")
        part = _editor("Part of the first painting", [1], height=320, elem_id="part")
    return Regions(section, take_photo, find, invert, drawing, rest, gr.State(""),
                   part_section, take_painting, part, gr.State(""))  # fmt: skip


def _editor(label: str, numbers: list[int], **options: Any) -> gr.ImageEditor:
    colours = ["rgba({}, {}, {}, {})".format(*COLOURS[number], OPACITY) for number in numbers]
    return gr.ImageEditor(
        type="pil", label=label, sources=[], transforms=[], layers=False, buttons=[], interactive=True, format="png",
        canvas_size=(EDITOR_SIDE, EDITOR_SIDE),
        brush=gr.Brush(colors=colours, default_color=colours[0], color_mode="fixed", default_size=40), **options,
    )  # fmt: skip


# --- what the editors show --------------------------------------------------------------------------------------------


def show_picture(picture: Image.Image | None) -> tuple[dict[str, Any] | None, str]:
    """Return a picture as the background of an editor, and its file."""
    if picture is None:
        return None, ""
    return {"background": _small(picture), "layers": [], "composite": None}, str(picture.info.get("path", ""))


def show_new_picture(picture: Image.Image | None, loaded: str) -> tuple:
    """Do as `show_picture`, unless the editor shows this picture already: then what is brushed stays."""
    is_shown = picture is not None and str(picture.info.get("path", "")) == loaded
    return (gr.skip(), gr.skip()) if is_shown else show_picture(picture)


def brush_subject(photo: Image.Image | None, drawing: dict[str, Any] | None, loaded: str) -> tuple:
    """Return the photo with its subject brushed in the first colour, and its file.

    What is brushed in this colour is a hint to the subject, and what is brushed in the others belongs to the rest; if
    the editor shows another photo, by its file in `loaded`, nothing of both counts.
    """
    with readable_errors():
        if photo is None:
            raise StyleTransferError("Add a photo first.")
        value, file = show_picture(photo)
        brushed = brushed_places(drawing) if loaded == file else {}
        hint = Image.fromarray(np.uint8(255) * brushed[1]) if 1 in brushed else None
        others = {number: places for number, places in brushed.items() if number != 1}
        rest = Image.fromarray(np.uint8(255) * np.logical_or.reduce([*others.values()])) if others else None
        found = np.asarray(find_subject(value["background"], subject=hint, background=rest)) > 127
    return value | {"layers": [_layer({1: found} | others)]}, file


def invert_drawing(drawing: dict[str, Any] | None) -> dict[str, Any] | None:
    """Brush in the first colour what is not brushed, and nothing else."""
    background = (drawing or {}).get("background")
    with readable_errors():
        if background is None:
            raise StyleTransferError("Load the photo into the editor first.")
    brushed = [*brushed_places(drawing).values()]
    rest = ~np.logical_or.reduce(brushed) if brushed else np.ones(background.size[::-1], bool)
    return {"background": background, "layers": [_layer({1: rest})], "composite": None}


def _small(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").resize(fitted_size(picture.size, min(EDITOR_SIDE, max(picture.size))))


def _layer(places: dict[int, np.ndarray]) -> Image.Image:
    """Return a layer of an editor with the colour of each number at its places.

    It is as large as the editor's empty canvas, and the picture is at its top left: the editor would put a smaller
    layer in the middle of that canvas.
    """
    pixels = np.zeros((EDITOR_SIDE, EDITOR_SIDE, 4), np.uint8)
    for number, where in places.items():
        pixels[: where.shape[0], : where.shape[1]][where] = (*COLOURS[number], round(255 * OPACITY))
    return Image.fromarray(pixels)


# --- what was brushed -------------------------------------------------------------------------------------------------


def brushed_places(drawing: dict[str, Any] | None) -> dict[int, np.ndarray]:
    """Return where each painting's colour was brushed, (H, W), True or False; only of the colours that were used."""
    layers = [layer.convert("RGBA") for layer in (drawing or {}).get("layers") or [] if layer]
    if not layers:
        return {}
    background = drawing.get("background") or layers[0]
    layers = [layer.crop((0, 0, *background.size)) for layer in layers]  # those of `_layer` are larger
    top = layers[0]
    for layer in layers[1:]:
        top = Image.alpha_composite(top, layer)
    pixels = np.asarray(top)
    is_brushed = np.logical_or.reduce([np.asarray(layer)[..., 3] > 0 for layer in layers])
    around = np.asarray(top.convert("RGBa").filter(ImageFilter.BoxBlur(2)), np.float32)
    around = around[..., :3] * 255 / around[..., 3:].clip(1)
    seen = np.where(pixels[..., 3:] < FAINT, around, pixels[..., :3].astype(np.float32))
    numbers = np.array(list(COLOURS))
    distances = np.stack([np.square(seen - np.float32(COLOURS[number])).sum(2) for number in numbers])
    nearest = numbers[distances.argmin(0)]
    places = {number: is_brushed & (nearest == number) for number in COLOURS}
    return {number: where for number, where in places.items() if where.any()}


def masks_of(drawing: dict[str, Any] | None) -> dict[int, Image.Image]:
    """Return the masks of the paintings by their numbers, mode L, white where their colours were brushed."""
    return {number: Image.fromarray(np.uint8(255) * where) for number, where in brushed_places(drawing).items()}


def part_of(drawing: dict[str, Any] | None, painting: Image.Image, loaded: str) -> Image.Image | None:
    """Return the mask of what was brushed on the painting, mode L; None if nothing was.

    Raises StyleTransferError if it was brushed on another picture than this painting, by the file that was `loaded`.
    """
    brushed = list(brushed_places(drawing).values())
    if not brushed:
        return None
    if loaded != str(painting.info.get("path", "")):
        raise StyleTransferError("The part was brushed on another painting: open Part of the painting, and do it anew.")
    return Image.fromarray(np.uint8(255) * np.logical_or.reduce(brushed))


def check_shape(photo: Image.Image, masks: dict[int, Image.Image]) -> None:
    """Raise StyleTransferError if the regions were brushed on a photo of another shape."""
    for mask in masks.values():
        ratio = photo.width / photo.height * mask.height / mask.width
        if abs(ratio - 1) > SHAPE_TOLERANCE + 1 / min(mask.size):
            raise StyleTransferError("The regions were brushed on another photo: open Regions, and load this photo.")
