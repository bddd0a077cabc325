"""The stages of a run, coarse to fine: which of them remain, and their pictures as tensors of the right size."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from nst.canvas import Canvas
from nst.errors import StyleTransferError
from nst.io.colour import match_covariance, recolour
from nst.io.reading import PictureLike, load_picture
from nst.io.sizes import MIN_SIDE, check_sides, fitted_size, resize_picture
from nst.io.tensors import to_tensor
from nst.run_state import RunState
from nst.settings import StyleSettings
from nst.targets import StyleInput


@dataclass(frozen=True)
class Style:
    """A style picture, its weight among several (above 0), and a mask picture: white where the style is painted."""

    picture: PictureLike
    weight: float = 1.0
    mask: PictureLike | None = None


@dataclass(frozen=True)
class RemainingStage:
    """A stage that is not finished: its number from 0, its long side in px, the picture's (width, height), and steps.

    steps: still to do. steps_done: in this stage, by the run that is continued.
    """

    number: int
    long_side: int
    size: tuple[int, int]
    steps: int
    steps_done: int

    @property
    def pixels(self) -> int:
        """The number of pixels, which the time of a step is proportional to."""
        return self.size[0] * self.size[1]


def remaining_stages(
    photo_size: tuple[int, int], settings: StyleSettings, resume: RunState | None
) -> list[RemainingStage]:
    """Return the stages that are not finished. Steps added to a finished run belong to the last stage.

    Raises StyleTransferError if the run to continue does not fit the photo and the settings.
    """
    stages = settings.stages(photo_size)
    sizes = [fitted_size(photo_size, stage.long_side, settings.keep_aspect) for stage in stages]
    if resume is None:
        return [
            RemainingStage(number, stage.long_side, size, stage.steps, 0)
            for number, (stage, size) in enumerate(zip(stages, sizes, strict=True))
        ]
    _check_fits(resume, settings, sizes)
    steps_left = settings.steps - resume.step
    remaining = []
    for number in range(resume.stage, len(stages)):
        steps_done = resume.stage_step if number == resume.stage else 0
        if number == len(stages) - 1:
            steps = steps_left
        else:  # at least one step is left for the final size
            steps = min(max(0, stages[number].steps - steps_done), steps_left - 1)
        if steps:
            remaining.append(RemainingStage(number, stages[number].long_side, sizes[number], steps, steps_done))
        steps_left -= steps
    return remaining


def _check_fits(resume: RunState, settings: StyleSettings, sizes: list[tuple[int, int]]) -> None:
    if resume.step >= settings.steps:
        raise StyleTransferError(f"This run has done {resume.step} steps already: set steps higher to continue it.")
    if resume.stage >= len(sizes):
        raise StyleTransferError("The saved run does not fit these settings: it has more stages.")
    height, width = resume.arrays["pixels"].shape[-2:]
    if (width, height) != (expected := sizes[resume.stage]):
        raise StyleTransferError(
            f"The saved run does not fit: it is {width}x{height} px, where this photo and these settings need "
            f"{expected[0]}x{expected[1]}."
        )


def restore_canvas(resume: RunState, settings: StyleSettings, device: torch.device) -> Canvas:
    """Return the canvas of the run to continue. Raises StyleTransferError if it is of another kind."""
    try:
        return Canvas.restore(resume.arrays, settings.canvas, device)
    except (KeyError, ValueError) as error:
        raise StyleTransferError("The saved run does not fit these settings: its canvas is another one.") from error


def load_styles(style: PictureLike | Sequence[Style]) -> list[Style]:
    """Return the styles with their pictures and masks loaded as PIL images.

    Raises StyleTransferError if there is none, or for a picture, mask or weight that cannot be used.
    """
    if not isinstance(style, (list, tuple)):
        style = [Style(style)]
    if not style:
        raise StyleTransferError("At least one style picture is needed.")
    loaded = []
    for number, item in enumerate(style, 1):
        name = "The style picture" if len(style) == 1 else f"Style picture {number}"
        item = item if isinstance(item, Style) else Style(item)
        weight: Any = item.weight
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < float("inf"):
            raise StyleTransferError(f"{name}: its weight must be a number above 0, not {weight!r}.")
        is_path = isinstance(item.picture, (str, os.PathLike))
        mask = None if item.mask is None else load_picture(item.mask, f"{name}'s mask")
        loaded.append(Style(load_picture(item.picture, None if is_path else name), float(weight), mask))
    return loaded


def check_final_sides(photo: Image.Image, styles: Sequence[Style], settings: StyleSettings, long_side: int) -> None:
    """Raise StyleTransferError if the photo or a style picture would be too narrow at the final size."""
    check_sides(fitted_size(photo.size, long_side, settings.keep_aspect), "The content picture")
    for style in styles:
        check_sides(fitted_size(style.picture.size, long_side, settings.keep_aspect), "The style picture")


def style_input(style: Style, settings: StyleSettings, stage: RemainingStage, device: torch.device) -> StyleInput:
    """Return a style's picture, weight and mask for one stage.

    The long side of the style picture is that of the stage times `style_scale`. The mask has the stage's size.
    """
    picture_size = fitted_size(style.picture.size, stage.long_side, settings.keep_aspect)
    width, height = (side * settings.style_scale for side in picture_size)
    enlargement = max(1.0, MIN_SIDE / min(width, height))  # a long thin style would be too small in a coarse stage
    picture = resize_picture(style.picture, (round(width * enlargement), round(height * enlargement)))
    mask = None
    if style.mask is not None:
        mask = to_tensor(style.mask.resize(stage.size, Image.Resampling.LANCZOS)).mean(1, keepdim=True).to(device)
    return to_tensor(picture).to(device), style.weight, mask


def start_picture(
    content: Tensor, styles: Sequence[StyleInput], settings: StyleSettings, generator: torch.Generator
) -> Tensor:
    """Return the picture that a run starts from: the photo, the photo in the first painting's colours, or noise."""
    if settings.init == "content":
        return content
    if settings.init == "style":
        start = match_covariance(content, styles[0][0])
    else:
        start = torch.rand(content.shape, generator=generator).to(content.device)
    return recolour(start, content) if settings.preserve_colours else start


def start_noise(
    content: Tensor, styles: Sequence[StyleInput], settings: StyleSettings, generator: torch.Generator
) -> Tensor:
    """Return Gaussian noise of the content's size, in the channels that are painted and only where a style is painted.

    Its standard deviation is `settings.start_noise`. Flat areas have nothing that a stroke could grow from without it.
    """
    channels = 1 if settings.preserve_colours else 3
    noise = torch.randn(1, channels, *content.shape[-2:], generator=generator).to(content.device)
    masks = [mask for _, _, mask in styles]
    if not any(mask is None for mask in masks):
        noise = noise * torch.stack(masks).amax(0)
    return settings.start_noise * noise
