"""The strength of a painting: a finished picture mixed with its photo, from the photo to a little beyond the painting.

A cross-fade would be a double exposure: the edges of both pictures show through each other. So the two pictures are
mixed in Laplacian pyramids, as in Burt & Kolczynski, "Enhanced image capture through fusion" (ICCV 1993): where the
details of both agree they are averaged, and where they differ one of them is selected.
"""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nst.errors import StyleTransferError, quote
from nst.io.reading import PictureLike, load_with_opacity
from nst.io.sizes import resize_picture
from nst.io.tensors import to_array, to_picture, to_tensor
from nst.io.transparency import contrasting_ground
from nst.settings import STRENGTHS
from nst.step import Step

COARSEST_SIDE = 12  # px on the short side: what is broader than such a picture shows is blended
WINDOW = 5  # px: contrasts are measured over so many pixels of a level
SHARPNESS = 8.0  # of the selection: 1 would blend what differs, and show both edges
# The painting's details count so many times as much as the photo's. With 1, a painting of half strength had the photo's
# fine detail and looked like a tinted photo.
PREFERENCE = 2.0
FROM_OTHER_LEVELS = 0.5  # share of a neighbouring level's contrast: a broad line takes its fine texture with it
BEYOND = 0.4  # of what is beyond strength 1 counts: with all of it, light skies were plain white at 1.5
FLOOR = 1e-3  # in units of pixel value: contrasts below it are not scaled
STILL = 9  # px: a place of this size where both pictures are the same is not painted


@dataclass(frozen=True)
class _Level:
    """A level of a Laplacian pyramid: its details, (1, 3, H, W), and for each place two values, (1, 1, H, W).

    contrast: root mean square of the details. salience: its square, with shares of that of the other levels.
    """

    details: Tensor
    contrast: Tensor
    salience: Tensor


class StrengthMixer:
    """A photo and its painting, which can be mixed with many strengths.

    photo: a path, a PIL image of any size, or an array of the painting's shape. painting: an RGB image, or an array.
    Arrays are (H, W, 3) floats in [0, 1]. Transparent parts of the photo show the plain ground that results show.

    Raises StyleTransferError for a photo that cannot be read, and for arrays of different shapes.
    """

    def __init__(self, photo: PictureLike | np.ndarray, painting: Image.Image | np.ndarray):
        self._painting = _to_tensor(painting)
        size = self._painting.shape[-1], self._painting.shape[-2]
        self._photo = _to_tensor(photo if isinstance(photo, np.ndarray) else photo_of_size(photo, size))
        if self._photo.shape != self._painting.shape:
            raise StyleTransferError("The photo and the painting must have the same size to be mixed.")

    def mix(self, strength: float) -> np.ndarray:
        """Return the mixture, (H, W, 3) float32 in [0, 1]: exactly the photo at 0 and the painting at 1.

        strength: 0 to 1.5. Beyond 1 the painting's colours and contrasts grow.

        Raises StyleTransferError for a strength out of range.
        """
        return to_array(self._mix(strength)[0].permute(1, 2, 0))

    def picture(self, strength: float) -> Image.Image:
        """Return the mixture as an RGB image. Raises StyleTransferError as `mix` does."""
        return to_picture(self._mix(strength))

    @torch.inference_mode()
    def _mix(self, strength: float) -> Tensor:
        low, high = STRENGTHS
        if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not low <= strength <= high:
            raise StyleTransferError(f"strength must be a number from {low:g} to {high:g}, not {quote(strength)}.")
        if strength in (0, 1):
            return self._painting if strength else self._photo
        beyond = BEYOND * max(0.0, strength - 1)
        up_to_one = min(strength, 1.0)
        (photo_levels, photo_rest), (painting_levels, painting_rest) = self._pyramids
        mixture = torch.lerp(photo_rest, painting_rest, up_to_one + beyond)
        for levels in zip(reversed(photo_levels), reversed(painting_levels), strict=True):
            details = _mix_details(*levels, up_to_one) * (1 + beyond)
            mixture = details + _enlarge(mixture, details)
        if self._painted is not None:
            cross_fade = torch.lerp(self._photo, self._painting, up_to_one + beyond)
            mixture = torch.lerp(cross_fade, mixture, self._painted)
        return mixture.clamp(0, 1)

    @functools.cached_property
    def _pyramids(self) -> tuple[tuple[list[_Level], Tensor], ...]:
        return _laplacian_pyramid(self._photo), _laplacian_pyramid(self._painting)

    @functools.cached_property
    def _painted(self) -> Tensor | None:
        """Return how much is painted, (1, 1, H, W) in [0, 1], or None if all of it is.

        Around what is not painted, details of the painting must not show: they would cross a mask's border.
        """
        is_same = ((self._photo - self._painting).abs().amax(1, keepdim=True) < 0.5 / 255).float()
        still = _maximum(-_maximum(-is_same)) if is_same.sum() >= STILL**2 else torch.zeros(1)
        return _window_mean(1 - _maximum(still), STILL) if still.any() else None


def with_strength(step: Step, photo: PictureLike, strength: float) -> Step:
    """Return a step of `stylize` with its picture at another strength. Nothing is painted again.

    The last step's state keeps the picture of full strength, so that this can be repeated. Earlier steps must have full
    strength, and an image.

    Raises StyleTransferError as `StrengthMixer` does.
    """
    image = StrengthMixer(photo, _painting(step)).picture(strength)
    if step.state is None:
        return replace(step, image=image)
    pictures = {name: picture for name, picture in step.state.pictures.items() if name != "mixed"}
    if strength != 1:
        unrounded = StrengthMixer(photo, step.state.result(image.size, full_strength=True)).mix(strength)
        pictures["mixed"] = np.ascontiguousarray(unrounded.transpose(2, 0, 1)[None])
    return replace(step, image=image, state=replace(step.state, pictures=pictures))


def _painting(step: Step) -> Image.Image:
    """Return a step's picture of full strength as `stylize` made it, rounded to 8 bits.

    Images are mixed from images, not from the unrounded picture. So the preview of a step is the same picture as the
    result of a run that ends at this step.
    """
    if step.state is None or "mixed" not in step.state.pictures:
        return step.image
    pictures = step.state.pictures
    pixels = pictures.get("tile", pictures.get("finished", step.state.arrays["pixels"]))
    return to_picture(torch.from_numpy(pixels)).resize(step.image.size, Image.Resampling.BICUBIC)


def mix_steps(steps: Iterator[Step], photo: PictureLike, strength: float) -> Iterator[Step]:
    """Yield the steps of `stylize`, which have full strength, at another strength."""
    small = None  # the photo in the size of the pictures, which are all of one size
    with closing(steps):
        for step in steps:
            if step.image is None:
                yield step
                continue
            small = small or photo_of_size(photo, step.image.size)
            yield with_strength(step, small, strength)


def mix_with_photo(run: Callable[..., Iterator[Step]]) -> Callable[..., Iterator[Step]]:
    """Decorate `stylize`, which paints at full strength, to give its pictures the strength of its settings."""

    @functools.wraps(run)
    def mixed(content: PictureLike, style: Any, settings: Any = None, **options: Any) -> Iterator[Step]:
        steps = run(content, style, settings, **options)
        strength = getattr(settings, "strength", 1.0)  # wrong settings are refused by the run
        yield from steps if strength == 1 else mix_steps(steps, content, strength)

    return mixed


def photo_of_size(photo: PictureLike, size: tuple[int, int]) -> Image.Image:
    """Return a photo as an RGB image of (width, height) `size`, on the plain ground that results have.

    Raises StyleTransferError as `load_picture` does.
    """
    picture, opacity = load_with_opacity(photo, None if isinstance(photo, (str, os.PathLike)) else "The photo")
    resized = resize_picture(picture, size)
    if opacity is None:
        return resized
    ground = Image.new("RGB", size, contrasting_ground(picture, opacity))
    return Image.composite(resized, ground, opacity.resize(size, Image.Resampling.BILINEAR))


def _mix_details(photo: _Level, painting: _Level, strength: float) -> Tensor:
    """Return the details of one level, (1, 3, H, W), for a strength from 0 to 1.

    Where both pictures have the same details, they are averaged. Elsewhere the ones with more salience are selected,
    and their contrast becomes the average of both contrasts: strokes get lighter, and do not show the photo's edges.
    """
    photo_vote = ((1 - strength) ** 2) * (photo.salience + FLOOR**2)
    painting_vote = ((PREFERENCE * strength) ** 2) * (painting.salience + FLOOR**2)
    selected = 1 / (1 + (photo_vote / painting_vote) ** (SHARPNESS / 2))
    common = 2 * _window_mean(photo.details * painting.details)
    match = (common / (photo.contrast**2 + painting.contrast**2).clamp_min(FLOOR**2)).clamp(0, 1)
    share = torch.lerp(selected, torch.full_like(selected, strength), match)  # of the painting
    contrast = torch.lerp(photo.contrast, painting.contrast, share)
    wanted = torch.lerp(photo.contrast, painting.contrast, strength)
    return torch.lerp(photo.details, painting.details, share) * ((wanted + FLOOR) / (contrast + FLOOR))


def _to_tensor(picture: Image.Image | np.ndarray) -> Tensor:
    """Return (1, 3, H, W) float32."""
    if isinstance(picture, Image.Image):
        return to_tensor(picture)
    return torch.from_numpy(np.ascontiguousarray(picture, np.float32)).permute(2, 0, 1)[None].contiguous()


def _laplacian_pyramid(pixels: Tensor) -> tuple[list[_Level], Tensor]:
    """Return the levels, from fine to coarse, and the rest (Burt & Adelson 1983)."""
    details = []
    while not details or min(pixels.shape[-2:]) >= 2 * COARSEST_SIDE:
        half = _shrink(pixels, tuple(-(-side // 2) for side in pixels.shape[-2:]))
        details.append(pixels - _enlarge(half, pixels))
        pixels = half
    powers = [_window_mean(level * level) for level in details]
    levels = zip(details, (power.sqrt() for power in powers), _add_other_levels(powers), strict=True)
    return [_Level(*level) for level in levels], pixels


def _shrink(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(pixels, size=size, mode="bilinear", antialias=True)


def _enlarge(pixels: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(pixels, size=like.shape[-2:], mode="bilinear")


def _window_mean(pixels: Tensor, window: int = WINDOW) -> Tensor:
    """Return the mean over the channels and over a window, (1, 1, H, W)."""
    mean = pixels.mean(1, keepdim=True)
    return F.avg_pool2d(mean, window, stride=1, padding=window // 2, count_include_pad=False)


def _maximum(pixels: Tensor) -> Tensor:
    """Return the maximum over a window of `STILL` px."""
    for kernel in ((STILL, 1), (1, STILL)):
        pixels = F.max_pool2d(pixels, kernel, stride=1, padding=(kernel[0] // 2, kernel[1] // 2))
    return pixels


def _add_other_levels(powers: list[Tensor]) -> list[Tensor]:
    """Return each level's power with shares of the finer and of the coarser levels' powers at the same place."""
    finer, coarser = [powers[0]], [powers[-1]]
    for power in powers[1:]:
        finer.append(power + FROM_OTHER_LEVELS * _shrink(finer[-1], power.shape[-2:]))
    for power in reversed(powers[:-1]):
        coarser.insert(0, power + FROM_OTHER_LEVELS * _enlarge(coarser[0], power))
    return [fine + coarse - power for fine, coarse, power in zip(finer, coarser, powers, strict=True)]
