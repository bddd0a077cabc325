"""Before and after: the photo over the result, with an edge between them that a range input moves.

`gr.ImageSlider` of Gradio 6.31 can only be dragged: it has no keyboard events, no role and no accessible name. A range
input has all of them, and works with mouse, finger and keys.
"""

import base64
import io

import gradio as gr
from PIL import Image

from nst.io.sizes import fitted_size

MAX_SIDE = 1024  # px; the page shows less, but phones have two or three screen pixels for one of the page
TEMPLATE = """
${value ? `<div class="compare" style="--at: 50%; --shape: ${value.width / value.height}">
  <img class="after" src="${value.after}" alt="The result">
  <img class="before" src="${value.before}" alt="The photo it was painted from">
  <input type="range" min="0" max="100" step="1" value="50" aria-label="How much of the photo is shown, in percent">
</div>` : `<p class="empty">When a picture is finished, you can compare it with its photo here.</p>`}
"""
SCRIPT = """
element.addEventListener("input", (event) => {
  if (event.target.type === "range") event.target.parentElement.style.setProperty("--at", event.target.value + "%");
});
"""
STYLE = """
.compare { position: relative; width: min(100%, 500px * var(--shape)); aspect-ratio: var(--shape); margin: auto; }
.compare img { position: absolute; inset: 0; width: 100%; height: 100%; }
.compare .before { clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.compare input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; cursor: ew-resize;
  background: transparent; appearance: none; -webkit-appearance: none; touch-action: pan-y; }
.compare input::-webkit-slider-thumb { -webkit-appearance: none; width: 6px; height: 100cqh; min-height: 500px;
  background: white; border: 2px solid #4338ca; border-width: 0 2px; }
.compare input::-moz-range-thumb { width: 6px; height: 500px; border: 2px solid #4338ca; background: white; }
.compare input:focus-visible { outline: 3px solid #6366f1; outline-offset: 2px; }
.compare { overflow: clip; overflow-clip-margin: 6px; }
.empty { display: grid; place-items: center; min-height: 470px; margin: 0; padding: 2rem; text-align: center; }
"""


def compare_slider() -> gr.HTML:
    """Lay out the component."""
    return gr.HTML(
        None, html_template=TEMPLATE, css_template=STYLE, js_on_load=SCRIPT, apply_default_css=False, elem_id="compare"
    )


def compare_value(photo: Image.Image, result: Image.Image) -> dict:
    """Return the value of `compare_slider` for a photo and its result; the photo is resized to the result's size."""
    size = result.size if max(result.size) <= MAX_SIDE else fitted_size(result.size, MAX_SIDE)
    before, after = (_data_url(picture.resize(size, Image.Resampling.LANCZOS)) for picture in (photo, result))
    return {"before": before, "after": after, "width": size[0], "height": size[1]}


def _data_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
