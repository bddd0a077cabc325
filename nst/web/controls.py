"""The settings that a visitor can change: one line of the table each, built into a slider, a list or a tick box."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from nst import StyleSettings, StyleTransferError
from nst.layers import LAYERS
from nst.settings import INITS
from nst.web.options import BACKBONES, Options

HOST_SETTINGS = ("device", "precision")  # settings that no visitor chooses


@dataclass(frozen=True)
class Control:
    """A field of `StyleSettings` on the page. Numbers have `bounds` (lowest, highest, step), others have `choices`."""

    field: str
    label: str
    info: str
    bounds: tuple[float, float, float] | None = None
    choices: Sequence[str | tuple[str, str]] = ()

    def build(self, value: Any) -> gr.components.Component:
        """Lay out the control with a value to begin with."""
        labels = {"label": self.label, "info": self.info, "elem_id": self.field, "min_width": 220}
        if self.bounds:
            return gr.Slider(self.bounds[0], self.bounds[1], value, step=self.bounds[2], **labels)
        if self.choices:
            is_multiple = isinstance(value, tuple)
            return gr.Dropdown(list(self.choices), value=to_component(value), multiselect=is_multiple, **labels)
        return gr.Checkbox(value, **labels) if isinstance(value, bool) else gr.Number(value, precision=0, **labels)

    def check(self, value: Any) -> None:
        """Raise StyleTransferError for a value that the page does not offer."""
        if self.bounds and not self.bounds[0] <= value <= self.bounds[1]:
            low, high, _ = self.bounds
            raise StyleTransferError(f"{self.field} must be from {low:g} to {high:g} here, not {value:g}.")
        choices = [choice if isinstance(choice, str) else choice[1] for choice in self.choices]
        if choices and not set(value if isinstance(value, tuple) else [value]) <= set(choices):
            raise StyleTransferError(f"{self.field} must be one of {', '.join(choices)} here.")


CONTROLS = {
    control.field: control
    for control in (
        Control("size", "Size", "Long side of the picture in pixels; twice the size takes four times as long.",
                (64, Options.max_size, 32)),
        Control("steps", "Steps", "More steps bring the picture closer to the painting.", (1, 1000, 1)),
        Control("style_weight", "Style strength", "Higher gives stronger strokes and colours.", (0, 2000, 1)),
        Control("content_weight", "Content weight", "Higher keeps more of what is in the photo.", (0, 20, 0.1)),
        Control("laplacian_weight", "Outlines", "Higher keeps more of the photo's outlines.", (0, 200, 1)),
        Control("tv_weight", "Smoothness", "Higher removes fine grain (total variation).", (0, 200, 1)),
        Control("style_scale", "Brush size", "Below 1 the strokes are finer, above 1 they are broader.",
                (0.25, 2, 0.05)),
        Control("preserve_colours", "Keep the photo's colours", "Changes only how light and dark the photo is."),
        Control("sketch", "Sketch first",
                "Begins with the photo put together from patches of the painting."),
        Control("match_palette", "The painting's palette",
                "Smooths colour noise away at the end, and uses only colours of the painting."),
        Control("sharpness", "Sharpness", "Higher makes the edges of the strokes crisper.", (0, 3, 0.1)),
        Control("seamless", "Seamless", "Copies of the picture lie side by side without a seam, as tiles do."),
        Control("init", "Start", "Start from the photo, from the photo in the painting's colours, or from noise.",
                choices=INITS),
        Control("start_noise", "Noise at the start", "Strokes can then grow in flat areas too.", (0, 0.3, 0.01)),
        Control("seed", "Seed", "The same number gives the same noise, and so the same picture."),
        Control("content_layers", "Content layers", "Deep layers keep the objects, shallow layers keep every edge.",
                choices=LAYERS),
        Control("style_layers", "Style layers", "Shallow layers give colours and grain, deep layers large strokes.",
                choices=LAYERS),
        Control("backbone", "Backbone", "The VGG19 network that compares the pictures.", choices=BACKBONES),
        Control("keep_aspect", "Keep the photo's shape", "Without it the result is a square."),
    )
}  # fmt: skip


def controls_for(max_size: int) -> dict[str, Control]:
    """Return `CONTROLS` with sizes up to `max_size` px, the host's limit."""
    low, _, step = CONTROLS["size"].bounds
    return CONTROLS | {"size": replace(CONTROLS["size"], bounds=(low, max_size, step))}


def settings_from(base: StyleSettings, values: Mapping[str, Any]) -> StyleSettings:
    """Return `base` with the values of the controls, by field. Raises StyleTransferError for impossible values."""
    values = {name: value for name, value in values.items() if name in CONTROLS and value is not None}
    return replace(base, **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def control_values(settings: StyleSettings) -> dict[str, Any]:
    """Return what the controls show for `settings`, by field."""
    return {name: to_component(getattr(settings, name)) for name in CONTROLS}


def to_component(value: Any) -> Any:
    """Return a setting's value as Gradio's components take it: lists instead of tuples."""
    return list(value) if isinstance(value, tuple) else value


def value_text(value: Any, separator: str = ", ") -> str:
    """Return a setting's value as visitors read it, and as links have it with the separator of a link."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return separator.join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_offered(settings: StyleSettings, max_size: int) -> StyleSettings:
    """Return settings from a link or a file, with this host's device and precision.

    Raises StyleTransferError for values that the page does not offer.
    """
    for name, control in controls_for(max_size).items():
        control.check(getattr(settings, name))
    return replace(settings, **dict.fromkeys(HOST_SETTINGS, "auto"))
