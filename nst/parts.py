"""The part of a painting that a style is taken from: a mask of the painting, white where it counts.

What lies outside the part is never seen: it is replaced by a smooth continuation of the part's colours, and patches,
colours and statistics are taken from the part alone.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nst.errors import StyleTransferError
from nst.io.tensors import to_tensor
from nst.io.transparency import fill_transparent

WHOLE = 0.99  # of a pixel: one that is covered less has colours from outside the part mixed in
TOO_SMALL = "is too small at this size of the result: choose a larger part, or a larger size."


def load_part(painting: Image.Image, mask: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Return a painting without what lies outside its part, and the part: mode L, 0 or 255, of the painting's size.

    mask: RGB, of any size; what is lighter than middle grey belongs to the part. The part is None if it is everything.

    Raises StyleTransferError, calling the painting `name`, if nothing belongs to the part.
    """
    part = mask.convert("L").resize(painting.size, Image.Resampling.BICUBIC).point(lambda value: 255 * (value >= 128))
    darkest, lightest = part.getextrema()
    if lightest == 0:
        raise StyleTransferError(f"{name}'s part is empty: its mask must be white where the style is taken from.")
    return (painting, None) if darkest else (fill_transparent(painting, part), part)


def part_tensor(part: Image.Image, size: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Return the part of a painting of `size`, (width, height): (1, 1, H, W), how much of each pixel belongs to it."""
    return to_tensor(part.resize(tuple(size), Image.Resampling.BOX))[:, :1].to(device)


def inside(part: Tensor | None) -> Tensor | slice:
    """Return the index of the pixels that belong to the part as a whole, (H, W), True or False; without a part, of all.

    If there are none, the pixels that belong to it most are taken.
    """
    return slice(None) if part is None else part[0, 0] >= part.max().clamp_max(WHOLE)


def whole_patches(part: Tensor, side: int) -> Tensor:
    """Return the places of all patches of `side` px that lie in the part: (N, 2), the row and column of their corner.

    There are none if they are fewer than side x side: too few to put a picture together from.
    """
    if min(part.shape[-2:]) < side:
        return torch.empty(0, 2, dtype=torch.long, device=part.device)
    places = (-F.max_pool2d(-part, side, 1)[0, 0] >= WHOLE).nonzero()
    return places if len(places) >= side * side else places[:0]


def check_part(part: Tensor, side: int, name: str) -> None:
    """Raise StyleTransferError, calling the painting `name`, if the part is smaller than a square of `side` px."""
    if part.sum() < side * side:
        raise StyleTransferError(f"The part of {name} {TOO_SMALL}")
