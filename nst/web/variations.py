"""Variations: four small paintings grow beside each other, and a click on one paints it at full size."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from PIL import Image

from nst import Step, StyleSettings
from nst.io.sizes import fitted_size
from nst.strength import photo_of_size
from nst.variations import VARIATIONS, vary
from nst.web.controls import CONTROLS
from nst.web.errors import readable_errors
from nst.web.restore import UNCHANGED, show_but_strength
from nst.web.run_queue import RunQueue
from nst.web.runs import styles_and_settings
from nst.web.status import STOPPED_EARLY

CHOOSE = "Click one of the four variations to paint it at full size."


@dataclass(frozen=True)
class VariationsPanel:
    """The components of the variations. settings: the four settings at full size, as a list."""

    start: gr.Button
    gallery: gr.Gallery
    settings: gr.State


def variations_panel() -> VariationsPanel:
    """Lay out the button and the gallery, which is hidden until it is used."""
    start = gr.Button("Variations: paint four small ones to choose from", elem_id="variations")
    gallery = gr.Gallery(
        label="Variations", columns=2, object_fit="contain", allow_preview=False, interactive=False, buttons=[],
        visible=False, elem_id="variations_gallery", elem_classes="whole_gallery", format="jpeg",
    )  # fmt: skip
    return VariationsPanel(start, gallery, gr.State([]))


class VariationEvents:
    """The events of the variations. Its generator yields {component: value} for the components that change."""

    def __init__(self, queue: RunQueue, panel: VariationsPanel, status: gr.Textbox, styles_folder: str):
        self._queue, self._panel, self._status, self._styles_folder = queue, panel, status, styles_folder
        self._chosen: set[str | None] = set()  # visitors who have clicked one before all were painted

    def paint(self, request: gr.Request, *, content, style, **inputs: Any) -> Iterator[dict]:
        """Paint the four variations of the page's settings. inputs: see `styles_and_settings`."""
        panel = self._panel
        with readable_errors():
            styles, settings = styles_and_settings(content, style, self._styles_folder, **inputs)
            small = vary(settings)
            photo = photo_of_size(content, fitted_size(content.size, small[0].size, small[0].keep_aspect))
            choices = [_offered(variation.change(settings)) for variation in VARIATIONS]
            yield {
                panel.gallery: gr.Gallery(_captioned([None] * len(small), photo), visible=True),
                panel.settings: choices,
                self._status: "Starting four variations…",
            }
            self._chosen.discard(request.session_hash)
            with closing(self._queue.paint_together(request.session_hash, content, styles, small)) as states:
                for steps in states:
                    if isinstance(steps, str):  # a sentence about the wait
                        yield {self._status: steps}
                        continue
                    yield {panel.gallery: _captioned(steps, photo), self._status: _progress(steps)}
            if request.session_hash not in self._chosen:  # else the status is that of the run that follows
                yield {self._status: STOPPED_EARLY if isinstance(steps, str) else CHOOSE}

    def choose(self, choices: list[StyleSettings], event: gr.SelectData, request: gr.Request) -> list[Any]:
        """Show the settings of the clicked variation in the controls, for the run that follows; end the others."""
        if event.index >= len(choices):
            return UNCHANGED
        self._chosen.add(request.session_hash)
        self._queue.stop(request.session_hash)
        return show_but_strength(choices[event.index])


def _captioned(steps: list[Step | None], photo: Image.Image) -> list[tuple[Image.Image, str]]:
    """Return the latest picture of each variation with its name; before the first one it is the photo."""
    images = [step.image if step and step.image else photo for step in steps]
    return [(image, variation.name) for image, variation in zip(images, VARIATIONS, strict=True)]


def _progress(steps: list[Step | None]) -> str:
    done = min(step.step if step else 0 for step in steps)
    total = max(step.steps for step in steps if step)
    return f"Four variations · step {done} of {total}" if done else "Four variations · sketching"


def _offered(settings: StyleSettings) -> StyleSettings:
    """Return the settings with the style weight and the brush size within the ranges of their controls."""
    changes = {}
    for name in ("style_weight", "style_scale"):
        low, high, _ = CONTROLS[name].bounds
        changes[name] = min(max(getattr(settings, name), low), high)
    return replace(settings, **changes)
