"""A run with matched strokes, from coarse to fine: what each stage paints, starts from and is compared with.

1. The photo is moved into the painting's palette (`nst.palette.ColourMap`).
2. Every stage but the first starts from the photo in the colours of the stage before: broad strokes and all.
3. Each stage has three rounds. At the start of a round every cell of the picture is matched anew (`nst.matching`).
4. At the end the result gets the painting's palette once more (`nst.finish`).
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nst.canvas import Canvas
from nst.finish import Palette, picture_tensor
from nst.io.colour import grey, match_luminance, recolour
from nst.io.sizes import resize_picture
from nst.io.tensors import to_array, to_tensor
from nst.matching import StrokeMatcher
from nst.models.vgg import Vgg19
from nst.objective import Objective
from nst.palette import transfer_colours
from nst.run_state import RunState
from nst.settings import StyleSettings
from nst.stages import RemainingStage, Round
from nst.targets import StyleInput

# The learning rate of each round of a stage, as a factor: half a cosine in three steps, so that the last one is calm.
ROUND_RATES = (0.92, 0.58, 0.23)
# How much a cell is compared by the photo, in the first and in the last stage; the rest is the picture as it stands.
# Less makes bolder strokes, and loses thin things.
PHOTO_SHARES = (0.9, 0.4)
# How much rare colours of the painting count. With 1, hardly anything of the photo would remain on a white sheet; with
# 0.5, rare colours appear in random places.
PALETTE_EXPONENT = 0.7
PHOTO_SIDE = 128  # px: the size at which the photo's local maps of colours are computed


class Strokes:
    """What is the same in all stages of a run with matched strokes."""

    def __init__(self, settings: StyleSettings, photo: Image.Image, palette: Palette | None, device: torch.device):
        """
        palette: of the paintings; None if the photo keeps its colours.
        """
        self.settings, self.photo, self.device = settings, photo, device
        self._source = picture_tensor(photo, PHOTO_SIDE, device)
        self._target = palette.give_to(self._source) if palette else self._source

    def in_palette(self, pixels: Tensor) -> Tensor:
        """Return the photo, at the size of `pixels` (1, 3, H, W), in the paintings' palette."""
        return transfer_colours(self._source, self._target, pixels)

    def enlarge(self, painted: Tensor, pixels: Tensor) -> Tensor:
        """Return the start of a stage: the photo `pixels` (1, 3, H, W) in the colours that the last stage painted."""
        source = to_tensor(resize_picture(self.photo, (painted.shape[-1], painted.shape[-2]))).to(self.device)
        start = transfer_colours(source, painted, pixels)
        return recolour(start, pixels) if self.settings.preserve_colours else start


class StrokeStage:
    """One stage of a run with matched strokes; its methods are those of `nst.stages.PlainStage`.

    start: the picture that the stage starts from. It takes the place of the photo, except that outlines and layout are
    those of `outlines_of`, the photo in the paintings' palette.
    """

    def __init__(
        self, strokes: Strokes, stage: RemainingStage, pixels: Tensor, canvas: Canvas | None, resume: RunState | None
    ):
        """
        pixels: the photo at the stage's size. canvas: with the picture so far, if there is one. resume: the state of
        the run that is continued, if one is.
        """
        self.settings, self.stage = strokes.settings, stage
        self.outlines_of = strokes.in_palette(pixels)
        self._matched: Tensor | None = None
        stopped_here = resume is not None and (stage.number, stage.steps_done) == (resume.stage, resume.stage_step)
        if stopped_here and {"start", "matched"} <= resume.pictures.keys():
            self.start, self._matched = (
                torch.from_numpy(resume.pictures[name]).to(pixels) for name in ("start", "matched")
            )
        elif canvas is None:
            self.start = self.outlines_of
        elif canvas.pixels().shape == pixels.shape:
            self.start = canvas.pixels().clone()
        else:
            self.start = strokes.enlarge(canvas.pixels(), pixels)

    def enlarge(self, canvas: Canvas) -> Canvas:
        """Return a canvas with the picture that this stage starts from; Adam starts anew."""
        return Canvas(self.start, canvas.kind)

    def prepare(self, extractor: Vgg19, objective: Objective, styles: Sequence[StyleInput], stage_count: int) -> None:
        """Compute what every match of this stage needs. `objective` is the one whose targets are set."""
        if self.settings.preserve_colours:
            styles = [(match_luminance(picture, self.start), weight, mask) for picture, weight, mask in styles]
        self._objective = objective
        is_partial = all(mask is not None for _, _, mask in styles)
        self._own = dict(objective.targets.content) if is_partial else None  # at 4096 px they are 3 GB
        self._matcher = StrokeMatcher(extractor, self.settings.content_layers, self._compared(self.start), styles)
        first, last = PHOTO_SHARES
        self._photo_share = first + (last - first) * self.stage.number / max(1, stage_count - 1)

    def rounds(self) -> list[Round]:
        """Return the rounds that remain."""
        done, begin, remaining = self.stage.steps_done, 0, []
        for number, factor in enumerate(ROUND_RATES, 1):
            end = (self.stage.steps + done) * number // len(ROUND_RATES)
            if (steps := end - max(begin, done)) > 0:
                remaining.append(Round(steps, factor, is_new=begin >= done))
            begin = end
        return remaining

    def match(self, painted: Tensor, round_: Round) -> None:
        """Match the picture as it stands; in a round that began in an earlier run, as it stood then."""
        if round_.is_new or self._matched is None:
            self._matched = painted.detach().clone()
        targets = self._matcher.match(self._compared(self._matched), self._photo_share, self._own)
        self._objective.aim_at(targets, self._matcher.scales)

    def pictures(self) -> dict[str, np.ndarray]:
        """Return what a state needs besides its canvas to continue in this stage."""
        return {"start": to_array(self.start), "matched": to_array(self._matched)}

    def _compared(self, pixels: Tensor) -> Tensor:
        return grey(pixels) if self.settings.preserve_colours else pixels
