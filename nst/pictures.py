"""The pictures of a run: the styles as they are loaded, and everything as tensors of the size of one stage."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image, ImageChops, ImageOps
from torch import Tensor

from nst.canvas import KINDS, NOISE_LEFT, without_grid
from nst.errors import StyleTransferError
from nst.io.colour import match_covariance, recolour
from nst.io.reading import PictureLike, load_picture, load_with_opacity
from nst.io.sizes import MIN_SIDE, check_sides, fitted_size, resize_picture
from nst.io.tensors import to_tensor
from nst.models.checkpoints import Backbone
from nst.parts import check_part, inside, load_part, part_tensor
from nst.saved_style import SavedStyle, is_style_file, load_style
from nst.settings import StyleSettings
from nst.stages import RemainingStage
from nst.targets import StyleInput


@dataclass(frozen=True)
class Style:
    """A style: its painting, its weight among several styles, where it is painted, and what it is taken from.

    picture: the painting, or a saved style, or the path of its file; or a list of paintings in one manner, which count
    together as one style, equally.
    weight: above 0.
    mask: a mask of the photo, white where the style is painted; by default everywhere.
    part: a mask of the painting, white where the style is taken from; by default everywhere. Of several paintings it
    belongs to the first. A saved style has none.
    """

    picture: PictureLike | SavedStyle | Sequence[PictureLike | SavedStyle]
    weight: float = 1.0
    mask: PictureLike | None = None
    part: PictureLike | None = None

    @property
    def paintings(self) -> list[PictureLike]:
        """The painting or paintings, as a list."""
        return list(self.picture) if isinstance(self.picture, (list, tuple)) else [self.picture]


def load_styles(style: PictureLike | Sequence[Style]) -> list[Style]:
    """Return the styles with their pictures, masks and parts loaded as PIL images, each with one painting.

    A style with several paintings becomes as many styles, which share its weight and have one mask object together.

    Raises StyleTransferError if there is none, or for a picture, mask, part or weight that cannot be used.
    """
    if not isinstance(style, (list, tuple)):
        style = [Style(style)]
    if not style:
        raise StyleTransferError("At least one style picture is needed.")
    loaded = []
    for number, item in enumerate(style, 1):
        name = "The style picture" if len(style) == 1 else f"Style picture {number}"
        if isinstance(item, (list, tuple)):
            raise StyleTransferError(f"{name} is a list: write Style([...]) for several paintings in one style.")
        item = item if isinstance(item, Style) else Style(item)
        weight: Any = item.weight
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < float("inf"):
            raise StyleTransferError(f"{name}: its weight must be a number above 0, not {weight!r}.")
        paintings = item.paintings
        if not paintings:
            raise StyleTransferError(f"{name}: its list of paintings is empty.")
        mask = None if item.mask is None else load_mask(item.mask, f"{name}'s mask").copy()  # an object of its own
        part = item.part
        for painting in paintings:
            picture = load_painting(painting, None if isinstance(painting, (str, os.PathLike)) else name)
            if part is not None:
                if isinstance(picture, SavedStyle):
                    raise StyleTransferError(f"{name}: a saved style has no part: use the painting itself.")
                picture, part = load_part(picture, load_mask(part, f"{name}'s part"), name)
            loaded.append(Style(picture, weight / len(paintings), mask, part))
            part = None
    return loaded


def load_style_files(style: Style) -> Style:
    """Return a style with everything that `describe` and `stylize` would read loaded.

    Raises StyleTransferError as `load_styles` does.
    """
    pictures = [load_painting(painting) for painting in style.paintings]
    mask, part = (None if mask is None else load_mask(mask) for mask in (style.mask, style.part))
    return replace(style, picture=pictures if len(pictures) != 1 else pictures[0], mask=mask, part=part)


def load_painting(painting: PictureLike | SavedStyle, name: str | None = None) -> Image.Image | SavedStyle:
    """Return a painting as `load_picture` does, or the saved style that is given, or that is in the file.

    Raises StyleTransferError as `load_picture` and `load_style` do.
    """
    if isinstance(painting, SavedStyle):
        return painting
    return load_style(painting) if is_style_file(painting) else load_picture(painting, name)


def load_mask(mask: PictureLike, name: str | None = None) -> Image.Image:
    """Return a mask as `load_picture` returns a picture, but with transparent parts in black: nothing is painted there.

    Raises StyleTransferError as `load_picture` does.
    """
    picture, opacity = load_with_opacity(mask, name)
    return picture if opacity is None else Image.composite(picture, Image.new("RGB", picture.size), opacity)


def uncovered(masks: Sequence[Image.Image]) -> Image.Image:
    """Return the mask of what none of the masks covers, of the size of the first one. masks: one or more, mode L."""
    covered = masks[0]
    for mask in masks[1:]:
        covered = ImageChops.lighter(covered, mask.resize(covered.size, Image.Resampling.LANCZOS))
    return ImageOps.invert(covered)


def check_final_sides(photo: Image.Image, styles: Sequence[Style], settings: StyleSettings, long_side: int) -> None:
    """Raise StyleTransferError if the photo, a style picture or a part would be too narrow at the final size."""
    check_sides(fitted_size(photo.size, long_side, settings.keep_aspect), "The content picture")
    for style in styles:
        if isinstance(style.picture, SavedStyle):
            continue
        size = fitted_size(style.picture.size, long_side, settings.keep_aspect)
        check_sides(size, "The style picture")
        if style.part is not None:
            check_part(part_tensor(style.part, size), MIN_SIDE, "the style picture")


def check_saved_styles(styles: Sequence[Style], settings: StyleSettings, backbone: Backbone) -> None:
    """Raise StyleTransferError for a saved style that does not fit the settings or the backbone."""
    for painting in (painting for style in styles for painting in style.paintings):
        if isinstance(painting, SavedStyle):
            painting.check(settings, backbone)


def mask_tensor(style: Style, like: Tensor) -> Tensor:
    """Return a style's mask, (1, 1, H, W) in [0, 1], at the size of `like` and on its device; ones if it has none."""
    if style.mask is None:
        return torch.ones_like(like[:, :1])
    mask = style.mask.resize((like.shape[-1], like.shape[-2]), Image.Resampling.LANCZOS)
    return to_tensor(mask).mean(1, keepdim=True).to(like.device)


def painted_places(styles: Sequence[Style], like: Tensor) -> Tensor:
    """Return where any style is painted, (1, 1, H, W) in [0, 1], at the size of `like`."""
    return torch.stack([mask_tensor(style, like) for style in styles]).amax(0)


def groups_by_mask(styles: Sequence[Style]) -> list[list[int]]:
    """Return the numbers of the styles in groups: those that have one mask object, and all styles without a mask."""
    groups: dict[int | None, list[int]] = {}
    for number, style in enumerate(styles):
        groups.setdefault(None if style.mask is None else id(style.mask), []).append(number)
    unmasked = groups.pop(None, [])
    return [*groups.values(), unmasked] if unmasked else [*groups.values()]


def style_inputs(
    styles: Sequence[Style], settings: StyleSettings, stage: RemainingStage, device: torch.device
) -> list[StyleInput]:
    """Return the styles' pictures, weights, masks and parts for one stage.

    The long side of a style picture is that of the stage times `style_scale`; its part has its size. A saved style has
    statistics in place of a picture. A mask has the stage's size; styles that have one mask object get one tensor.
    """
    inputs: list[StyleInput] = [None] * len(styles)
    for group in groups_by_mask(styles):
        mask = styles[group[0]].mask
        if mask is not None:
            mask = to_tensor(mask.resize(stage.size, Image.Resampling.LANCZOS)).mean(1, keepdim=True).to(device)
        for number in group:
            inputs[number] = _style_input(styles[number], settings, stage, mask, device)
    return inputs


def _style_input(
    style: Style, settings: StyleSettings, stage: RemainingStage, mask: Tensor | None, device: torch.device
) -> StyleInput:
    if isinstance(style.picture, SavedStyle):
        long_side = stage.long_side * settings.style_scale
        statistics = style.picture.statistics_at(long_side, settings.style_layers, device)
        return StyleInput(style.picture.colours.to(device), style.weight, mask, statistics=statistics)
    picture_size = fitted_size(style.picture.size, stage.long_side, settings.keep_aspect)
    width, height = (side * settings.style_scale for side in picture_size)
    enlargement = max(1.0, MIN_SIDE / min(width, height))  # a long thin style would be too small in a coarse stage
    picture = resize_picture(style.picture, (round(width * enlargement), round(height * enlargement)))
    part = None if style.part is None else part_tensor(style.part, picture.size, device)
    return StyleInput(to_tensor(picture).to(device), style.weight, mask, part)


def start_picture(
    content: Tensor, styles: Sequence[StyleInput], settings: StyleSettings, generator: torch.Generator
) -> Tensor:
    """Return the picture that a run starts from: the photo, the photo in the first painting's colours, or noise."""
    if settings.init == "content":
        return content
    if settings.init == "style":
        first = styles[0]
        start = match_covariance(content, first.picture[..., inside(first.part)])
    else:
        noise = torch.rand(content.shape, generator=generator).to(content.device) - 0.5
        start = (0.5 + _fit_for_canvas(noise, settings)).clamp_(0, 1)
    return recolour(start, content) if settings.preserve_colours else start


def start_noise(
    content: Tensor, styles: Sequence[StyleInput], settings: StyleSettings, generator: torch.Generator
) -> Tensor:
    """Return Gaussian noise of the content's size, in the channels that are painted and only where a style is painted.

    Its standard deviation is `settings.start_noise`. Without noise, nothing in a flat area could grow into a stroke.
    """
    channels = 1 if settings.preserve_colours else 3
    noise = torch.randn(1, channels, *content.shape[-2:], generator=generator).to(content.device)
    noise = _fit_for_canvas(noise, settings)
    masks = [style.mask for style in styles]
    if not any(mask is None for mask in masks):
        noise = noise * torch.stack(masks).amax(0)
    return settings.start_noise * noise


def _fit_for_canvas(noise: Tensor, settings: StyleSettings) -> Tensor:
    """Return noise of the same deviation without its grid, if the canvas is smooth: no step could take that away."""
    return without_grid(noise) / NOISE_LEFT if KINDS[settings.canvas].is_smooth else noise
