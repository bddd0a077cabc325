"""The settings that a visitor can change: one line of the table each, built into a slider, a list or a tick box."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from nst import StyleSettings, StyleTransferError
from nst.layers import LAYERS
from nst.settings import INITS
from nst.web.options import BACKBONES, Options

MACHINES_OWN = ("device", "precision")  # settings that no visitor chooses


@dataclass(frozen=True)
class Control:
    """A field of `StyleSettings` on the page: numbers have `bounds` (lowest, highest, step), others `choices`."""

    field: str
    label: str
    info: str
    bounds: tuple[float, float, float] | None = None
    choices: Sequence[str | tuple[str, str]] = ()

    def build(self, value: Any) -> gr.components.Component:
        about = {"label": self.label, "info": self.info, "elem_id": self.field, "min_width": 220}
        if self.bounds:
            return gr.Slider(self.bounds[0], self.bounds[1], value, step=self.bounds[2], **about)
        if self.choices:
            several = isinstance(value, tuple)
            return gr.Dropdown(list(self.choices), value=shown(value), multiselect=several, **about)
        return gr.Checkbox(value, **about) if isinstance(value, bool) else gr.Number(value, precision=0, **about)

    def check(self, value: Any) -> None:
        """Raise StyleTransferError for what the page does not offer."""
        if self.bounds and not self.bounds[0] <= value <= self.bounds[1]:
            low, high, _ = self.bounds
            raise StyleTransferError(f"{self.field} must be from {low:g} to {high:g} here, not {value:g}.")
        offered = [choice if isinstance(choice, str) else choice[1] for choice in self.choices]
        if offered and not set(value if isinstance(value, tuple) else [value]) <= set(offered):
            raise StyleTransferError(f"{self.field} must be one of {', '.join(offered)} here.")


CONTROLS = (
    Control("size", "Size", "Long side of the picture in pixels; twice the size takes four times as long.",
            (64, Options.max_size, 32)),
    Control("steps", "Steps", "More steps bring the picture closer to the painting.", (1, 1000, 1)),
    Control("style_weight", "Style strength", "Higher gives stronger strokes and colours.", (0, 2000, 1)),
    Control("content_weight", "Content weight", "Higher keeps more of what is in the photo.", (0, 20, 0.1)),
    Control("laplacian_weight", "Outlines", "Higher keeps more of the photo's outlines.", (0, 200, 1)),
    Control("tv_weight", "Smoothness", "Higher removes fine grain (total variation).", (0, 200, 1)),
    Control("style_scale", "Brush size", "Under 1 paints in finer strokes, above 1 in broader ones.", (0.25, 2, 0.05)),
    Control("preserve_colours", "Keep the photo's colours", "Paints in light and dark alone."),
    Control("init", "Start", "The photo, that in the painting's colours, or noise, which lets the painting take over.",
            choices=INITS),
    Control("start_noise", "Noise at the start", "Gives flat areas something that strokes can grow from.",
            (0, 0.3, 0.01)),
    Control("seed", "Seed", "Of the noise: another number, another picture; the same number repeats it."),
    Control("content_layers", "Content layers", "Deeper layers keep what is there, shallow ones each edge.",
            choices=LAYERS),
    Control("style_layers", "Style layers", "Shallow layers take colours and grain, deeper ones strokes and shapes.",
            choices=LAYERS),
    Control("backbone", "Backbone", "The VGG19 that looks at the pictures.", choices=BACKBONES),
    Control("keep_aspect", "Keep the photo's shape", "Off paints a square."),
)  # fmt: skip


def controls_for(max_size: int) -> tuple[Control, ...]:
    """Return `CONTROLS` with sizes up to `max_size`, the host's."""
    low, _, step = CONTROLS[0].bounds
    return replace(CONTROLS[0], bounds=(low, max_size, step)), *CONTROLS[1:]


def settings_of(base: StyleSettings, values: Sequence[Any]) -> StyleSettings:
    """`base` with the controls' values. Raises StyleTransferError for what cannot be."""
    given = {one.field: value for one, value in zip(CONTROLS, values, strict=True) if value is not None}
    return replace(base, **{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def values_of(settings: StyleSettings) -> list[Any]:
    """What the controls show for `settings`."""
    return [shown(getattr(settings, one.field)) for one in CONTROLS]


def shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def check_offered(settings: StyleSettings, max_size: int) -> StyleSettings:
    """`settings` from elsewhere, for this machine. Raises StyleTransferError for what the page does not offer."""
    for one in controls_for(max_size):
        one.check(getattr(settings, one.field))
    return replace(settings, **dict.fromkeys(MACHINES_OWN, "auto"))
