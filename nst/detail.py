"""Stages that add detail: what they compare the picture with, so that it keeps its strokes."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nst.canvas import Canvas
from nst.io.colour import recolour
from nst.io.tensors import to_array
from nst.run_state import RunState
from nst.settings import StyleSettings
from nst.stages import RemainingStage


class KeptStrokes:
    """The picture of the stage before, whose strokes a stage that adds detail keeps.

    It takes the place of the photo in the objective: its features, outlines and layout stay, and the style loss makes
    the edges of its strokes as sharp as the painting's. With the sketch in its place instead, small strokes grow on top
    of those that are there.

    picture: (1, 3, h, w) in [0, 1]; None before the first of these stages.
    """

    def __init__(self, settings: StyleSettings, resume: RunState | None, device: torch.device):
        self.settings, self.picture = settings, None
        if resume and "kept" in resume.pictures:
            self.picture = torch.from_numpy(resume.pictures["kept"]).to(device)

    def enlarge(self, canvas: Canvas, stage: RemainingStage, photo: Tensor) -> tuple[Tensor, Canvas]:
        """Return the picture that keeps the strokes, and the canvas, at the size of `photo`, (1, 3, H, W).

        canvas: as the stage before left it, or as this stage did if it is continued.
        """
        if self.picture is None or stage.steps_done == 0:
            self.picture = canvas.pixels().clone()
        picture = F.interpolate(self.picture, size=photo.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 1)
        if canvas.pixels().shape != photo.shape:
            canvas = canvas.resized(photo.shape[-2:])
            if self.settings.preserve_colours:  # its colours are those of a smaller photo
                canvas.pixels().copy_(recolour(canvas.pixels(), photo))
        return recolour(picture, photo) if self.settings.preserve_colours else picture, canvas

    def saved(self) -> dict[str, np.ndarray]:
        """Return what a `RunState` needs to continue, as its `pictures`."""
        return {} if self.picture is None else {"kept": to_array(self.picture)}
