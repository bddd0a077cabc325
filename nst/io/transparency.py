"""Transparent pictures: what their colours are where they cannot be seen, and what shows behind them."""

import numpy as np
from PIL import Image

GROUNDS = ((255, 255, 255), (0, 0, 0), (128, 128, 128))
SAMPLE_SIDE = 256  # px: the size at which colours are compared
FILL_SIDE = 512  # px: the size at which transparent parts are filled; far from an edge the filling is smooth anyway
CONTRAST = 0.2  # of the range of values: such a difference from the ground is visible enough


def fill_transparent(picture: Image.Image, opacity: Image.Image) -> Image.Image:
    """Return an RGB picture whose fully transparent parts continue the colours of the others, which stay.

    What is stored there is arbitrary, often black, and would be mixed into the edges of what is painted.

    opacity: mode L, of the same size. The colours are averaged over larger and larger blocks until all blocks have some
    (the pull-push algorithm: Gortler et al., "The Lumigraph", 1996, section 3.5).
    """
    factor = max(1, -(-max(picture.size) // FILL_SIDE))
    # Single pixels, not averages: a plain colour stays exactly this colour, and cannot grow into strokes.
    colours, alpha = (np.asarray(x, np.float32)[::factor, ::factor] for x in (picture, opacity))
    weight = np.float32(alpha > 127)[..., None]
    filled = _pull_push(colours * weight, weight)
    filling = Image.fromarray(filled.round().clip(0, 255).astype(np.uint8))
    is_seen = opacity.point(lambda value: 255 * (value > 0))
    return Image.composite(picture, filling.resize(picture.size, Image.Resampling.BICUBIC), is_seen)


def _pull_push(seen: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return colours (H, W, 3) for all positions of `seen`, (H, W, 3) times its `weight`, (H, W, 1) in [0, 1]."""
    if weight.min() >= 1 or max(weight.shape) == 1:
        return seen / weight.clip(1e-6)
    height, width = weight.shape[:2]
    even = [(0, height % 2), (0, width % 2), (0, 0)]
    halves = [np.pad(values, even, mode="edge") for values in (seen, weight)]
    halves = [(x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4 for x in halves]
    # A block with one opaque pixel of four has a colour of its own.
    gain = np.minimum(4, 1 / halves[1].clip(1e-6))
    coarse = _pull_push(halves[0] * gain, halves[1] * gain)
    return seen + (1 - weight) * coarse.repeat(2, 0).repeat(2, 1)[:height, :width]


def contrasting_ground(picture: Image.Image, opacity: Image.Image) -> tuple[int, int, int]:
    """Return the RGB colour to lay a transparent picture on: white, or for light pictures black or grey.

    Nine tenths of the visible pixels differ from it by `CONTRAST` or more; white, if that is true of it or of none.
    """
    factor = max(1, max(picture.size) // SAMPLE_SIDE)
    is_seen = np.asarray(opacity.reduce(factor)) > 127
    colours = np.asarray(picture.reduce(factor), np.float32)[is_seen] / 255
    if not len(colours):
        return GROUNDS[0]
    contrasts = [np.quantile(abs(colours - np.float32(ground) / 255).max(1), 0.1) for ground in GROUNDS]
    is_white_best = contrasts[0] >= CONTRAST or max(contrasts) < CONTRAST
    return GROUNDS[0] if is_white_best else GROUNDS[int(np.argmax(contrasts))]


def transparency_of(photo: Image.Image) -> dict:
    """Return `opacity` and `ground` of a photo in mode RGBA, as `save_result` takes them; nothing for mode RGB."""
    if photo.mode != "RGBA":
        return {}
    opacity = photo.getchannel("A")
    return {"opacity": opacity, "ground": contrasting_ground(photo.convert("RGB"), opacity)}


def lay_on_ground(picture: Image.Image, opacity: Image.Image | None) -> Image.Image:
    """Return the picture on its `contrasting_ground`; without opacity, the picture itself."""
    if opacity is None:
        return picture
    return Image.composite(picture, Image.new("RGB", picture.size, contrasting_ground(picture, opacity)), opacity)


def take_off_ground(pixels: np.ndarray, opacity: Image.Image, ground: tuple[int, int, int]) -> np.ndarray:
    """Return the colours that, laid on `ground`, look like `pixels`: x = (pixels - (1 - opacity) ground) / opacity.

    Where nothing can be seen they continue those of the other pixels, for programs that mix them in when they scale.

    pixels: (H, W, 3) float32 in [0, 1]. opacity: mode L, of the same size.
    """
    seen = np.asarray(opacity, np.float32)[..., None] / 255
    colours = ((pixels - (1 - seen) * (np.float32(ground) / 255)) / seen.clip(1 / 255)).clip(0, 1)
    filled = fill_transparent(Image.fromarray((colours * 255).round().astype(np.uint8)), opacity)
    return np.where(seen > 0, colours, np.asarray(filled, np.float32) / 255)
