"""A node for ComfyUI that paints photos in the style of paintings. See comfyui.md beside this file."""

from contextlib import closing

import numpy as np
import torch
from PIL import Image

from nst import DEFAULT_PRESET, PRESETS, Style, StyleSettings, stylize, unrounded

try:
    from comfy.model_management import throw_exception_if_processing_interrupted
    from comfy.utils import ProgressBar
except ImportError:  # outside ComfyUI
    ProgressBar = None

PREVIEW_SECONDS = 1.0  # between two previews of the picture as it grows
PREVIEW_SIDE = 512  # px


class StylizeNode:
    """Paint every photo of a batch in the style of one or several paintings."""

    CATEGORY = "image/style transfer"
    FUNCTION = "paint"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Paints photos in the style of a painting: neural style transfer after Gatys et al. (2016)."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """Return the inputs, with ranges, defaults and help texts, as ComfyUI asks for them."""
        return {
            "required": {
                "photo": ("IMAGE",),
                "painting": ("IMAGE", {"tooltip": "Several paintings in a batch are used together."}),
                "preset": (list(PRESETS), {"default": DEFAULT_PRESET}),
                "size": ("INT", {"default": 512, "min": 64, "max": 4096, "step": 32, "tooltip": "long side in pixels"}),
                "strength": (
                    "FLOAT",
                    {"default": 1.0, "min": 0.0, "max": 1.5, "step": 0.05, "tooltip": "0 is the photo, 1 the painting"},
                ),
                "style_scale": (
                    "FLOAT",
                    {"default": 1.0, "min": 0.25, "max": 2.0, "step": 0.05, "tooltip": "broader strokes above 1"},
                ),
                "preserve_colours": ("BOOLEAN", {"default": False, "tooltip": "keep the photo's colours"}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**31 - 1}),
            },
            "optional": {"mask": ("MASK", {"tooltip": "white is painted, black stays the photo"})},
        }

    def paint(self, photo, painting, preset, mask=None, **changes) -> tuple[torch.Tensor]:
        """Return the painted photos, (B, H, W, 3) float32 in [0, 1].

        photo: (B, H, W, 3) in [0, 1]. painting: the same; its pictures are used together. mask: (B, H, W) in [0, 1];
        the last one counts for all photos that have none. changes: of the preset's settings.

        Raises StyleTransferError for pictures and settings that cannot be used.
        """
        settings = StyleSettings.preset(preset, **changes)
        paintings = [to_picture(picture) for picture in painting]
        progress = Progress(len(photo) * settings.steps)
        results = []
        for number, picture in enumerate(photo):
            area = None if mask is None else to_picture(mask[min(number, len(mask) - 1)])
            styles = [Style(picture, mask=area) for picture in paintings]
            steps = stylize(to_picture(picture), styles, settings, preview_every=PREVIEW_SECONDS)
            with closing(steps):
                for step in steps:
                    progress.show(number * settings.steps + step.step, step.image)
            results.append(torch.from_numpy(unrounded(step)))
        return (torch.stack(results),)


class Progress:
    """ComfyUI's progress bar and its Cancel button; outside ComfyUI nothing."""

    def __init__(self, steps: int):
        self._steps = steps
        self._bar = ProgressBar(steps) if ProgressBar else None

    def show(self, step: int, picture: Image.Image | None) -> None:
        """Show the step and the picture so far. Raises ComfyUI's own exception after Cancel."""
        if self._bar:
            throw_exception_if_processing_interrupted()
            preview = ("JPEG", picture, PREVIEW_SIDE) if picture else None
            self._bar.update_absolute(step, self._steps, preview)


def to_picture(pixels: torch.Tensor) -> Image.Image:
    """Return (H, W) or (H, W, C) in [0, 1] as a grey or an RGB image; a fourth channel is left out."""
    array = pixels.detach().cpu().float().clamp(0, 1).mul(255).round().numpy().astype(np.uint8)
    return Image.fromarray(array if array.ndim == 2 else np.ascontiguousarray(array[..., :3]))


NODE_CLASS_MAPPINGS = {"NeuralStyleTransfer": StylizeNode}
NODE_DISPLAY_NAME_MAPPINGS = {"NeuralStyleTransfer": "Neural style transfer"}
