"""Seamless pictures: laid side by side they show no seam, as wallpaper or cloth needs it.

The photo is made periodic, and gets a border that repeats its opposite sides. The whole is painted as any photo is, but
after every step the border repeats the other side again (`nst.io.tensors.wrap_border`). So all that looks across an
edge, the network, the other losses, the sketch and the finish, sees the other side there. At the end the border is cut
off.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from nst.errors import StyleTransferError
from nst.io.reading import PictureLike, load_with_opacity
from nst.io.sizes import fitted_size
from nst.io.tensors import BORDER_SHARE
from nst.pictures import Style, load_mask
from nst.settings import LARGEST, StyleSettings
from nst.stage_plan import seamless_side

GROWTH = 1 + 2 * BORDER_SHARE  # of both sides, by the border


def paint_with_border(run: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Give the photo of a seamless run its border, and cut it off the pictures of all steps."""

    @functools.wraps(run)
    def bordered(content: PictureLike, style: Any, settings: StyleSettings | None = None, **options: Any) -> Any:
        if not (isinstance(settings, StyleSettings) and settings.seamless):
            yield from run(content, style, settings, **options)
            return
        side = round(GROWTH * seamless_side(settings.size))
        if side > LARGEST:
            raise StyleTransferError(
                f"A seamless picture has at most {int(LARGEST / GROWTH)} px: choose a smaller size."
            )
        photo, styles = _with_borders(content, style, settings)
        inner = replace(
            settings,
            size=side,
            detail_above=min(LARGEST, round(GROWTH * settings.detail_above)),
            style_scale=max(0.25, settings.style_scale / GROWTH),
        )
        for step in run(photo, styles, inner, **options):
            if step.state:
                pictures = step.state.pictures
                pictures["tile"] = _cut_array(pictures["finished"])
                if "mixed" in pictures:
                    pictures["mixed"] = _cut_array(pictures["mixed"])
            yield replace(step, image=step.image and _cut(step.image))

    return bordered


def make_periodic(pixels: np.ndarray) -> np.ndarray:
    """Return the periodic part of a picture (H, W, C) of floats: the picture minus a smooth one, which has its jumps.

    Moisan, "Periodic plus smooth image decomposition" (Journal of Mathematical Imaging and Vision, 2011), section 2:
    the smooth part solves the discrete Poisson equation whose right side has the jumps across the borders.
    """
    height, width = pixels.shape[:2]
    jumps = np.zeros_like(pixels, dtype=np.float64)
    jumps[0] += pixels[-1] - pixels[0]
    jumps[-1] -= pixels[-1] - pixels[0]
    jumps[:, 0] += pixels[:, -1] - pixels[:, 0]
    jumps[:, -1] -= pixels[:, -1] - pixels[:, 0]
    rows, columns = (2 * np.cos(2 * np.pi * np.arange(n) / n) for n in (height, width))
    laplacian = rows[:, None] + columns - 4
    laplacian[0, 0] = 1
    frequencies = np.fft.fft2(jumps, axes=(0, 1)) / laplacian[..., None]
    frequencies[0, 0] = 0
    return pixels - np.fft.ifft2(frequencies, axes=(0, 1)).real


def periodic_photo(photo: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return an RGB photo as a seamless run paints it: cut to (width, height) `size`, and made periodic."""
    fitted = np.asarray(ImageOps.fit(photo.convert("RGB"), size, Image.Resampling.LANCZOS), np.float64) / 255
    return Image.fromarray((make_periodic(fitted) * 255).round().clip(0, 255).astype(np.uint8))


def _with_borders(
    content: PictureLike, style: PictureLike | Sequence[Style], settings: StyleSettings
) -> tuple[Image.Image, list[Style]]:
    """Return the photo, and the styles with their masks, with a border."""
    name = None if isinstance(content, (str, os.PathLike)) else "The content picture"
    photo, opacity = load_with_opacity(content, name)
    sides = fitted_size(photo.size, settings.size, settings.keep_aspect)
    size = tuple(map(seamless_side, sides))
    bordered = _bordered(periodic_photo(photo, size))
    if opacity is not None:
        bordered.putalpha(_bordered(ImageOps.fit(opacity, size, Image.Resampling.BILINEAR)))
    styles = style if isinstance(style, (list, tuple)) else [style]
    styles = [_with_bordered_mask(x, size) if isinstance(x, Style) else x for x in styles]
    return bordered, styles


def _with_bordered_mask(style: Style, size: tuple[int, int]) -> Style:
    if style.mask is None:
        return style
    return replace(style, mask=_bordered(ImageOps.fit(load_mask(style.mask), size, Image.Resampling.LANCZOS)))


def _bordered(picture: Image.Image) -> Image.Image:
    width, height = (round(BORDER_SHARE * side) for side in picture.size)
    edges = [(height, height), (width, width)]
    array = np.asarray(picture)
    return Image.fromarray(np.pad(array, edges + [(0, 0)] * (array.ndim - 2), mode="wrap"))


def _inside(size: Sequence[int]) -> tuple[slice, slice]:
    """Return rows and columns inside the border of a picture of (height, width) `size`."""
    borders = (round(side * BORDER_SHARE / GROWTH) for side in size)
    return tuple(slice(border, side - border) for border, side in zip(borders, size, strict=True))


def _cut_array(pixels: np.ndarray) -> np.ndarray:
    """Return the inside of (1, 3, H, W)."""
    return pixels[(..., *_inside(pixels.shape[-2:]))].copy()


def _cut(picture: Image.Image) -> Image.Image:
    rows, columns = _inside((picture.height, picture.width))
    return picture.crop((columns.start, rows.start, columns.stop, rows.stop))
