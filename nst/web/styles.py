"""More than one painting, and where on the photo they go."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, ImageOps

from nst import Style
from nst.io.sizes import fitted_size
from nst.web.uploads import Picture

MORE = 2  # paintings besides the first
MASK_SIDE = 512  # px of the photo that is painted on
BRUSH = "rgba(99, 102, 241, 0.6)"


def more_styles() -> list[gr.components.Component]:
    """Lay out the further paintings; (picture, weight) of each, one after the other."""
    parts = []
    with gr.Row():
        for number in range(2, MORE + 2):
            with gr.Column(min_width=200):
                upload = {"sources": ["upload", "clipboard"], "height": 220, "buttons": []}
                parts.append(Picture(label=f"Painting {number}", elem_id=f"style_{number}",
                                     alt_text=f"Painting {number} to learn from", **upload))  # fmt: skip
                parts[-1].refuse_at_once()
                parts.append(gr.Slider(0.1, 5, 1, step=0.1, label=f"Weight of painting {number}",
                                       info="1 counts as much as the first painting.",
                                       elem_id=f"weight_{number}"))  # fmt: skip
    return parts


def mask_editor() -> gr.ImageEditor:
    return gr.ImageEditor(
        type="pil", label="Where to paint", sources=[], transforms=[], layers=False, height=420, elem_id="mask",
        brush=gr.Brush(colors=[BRUSH], color_mode="fixed", default_size=40), buttons=[], interactive=True,
    )  # fmt: skip


def to_paint_on(photo: Image.Image | None) -> dict[str, Any] | None:
    """The photo as the editor's background."""
    if photo is None:
        return None
    small = photo.resize(fitted_size(photo.size, min(MASK_SIDE, max(photo.size))))
    return {"background": small, "layers": [], "composite": None}


def mask_of(drawing: dict[str, Any] | None) -> Image.Image | None:
    """White where something was painted; None if nothing was."""
    layers = [np.asarray(layer.convert("RGBA"))[..., 3] > 0 for layer in (drawing or {}).get("layers") or [] if layer]
    if not any(layer.any() for layer in layers):
        return None
    return Image.fromarray(np.uint8(255) * np.logical_or.reduce(layers))


def styles_of(first: Image.Image, others: Sequence[Any], drawing: dict[str, Any] | None) -> list[Style]:
    """The paintings given: with a drawing, the first goes where it is and the others where it is not."""
    mask = mask_of(drawing)
    rest = mask and ImageOps.invert(mask)
    pairs = zip(others[::2], others[1::2], strict=True)
    return [Style(first, mask=mask), *(Style(picture, weight, rest) for picture, weight in pairs if picture)]
