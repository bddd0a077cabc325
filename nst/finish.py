"""The finish of a run: colour noise is smoothed away, and the result gets the paintings' palette.

Features see the colours of broad areas, but hardly those of single pixels: without the finish a grey painting gives a
picture with pink and green fringes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nst.io.sizes import MIN_SIDE, fitted_size, resize_picture
from nst.io.tensors import to_tensor
from nst.palette import PALETTE_COLOURS, ColourMap, sample_palette, smooth_chroma
from nst.pictures import Style

PALETTE_SIDE = 256  # px: the size at which colours are counted


class Palette:
    """The palettes of a run's paintings, and where each of them counts.

    exponent: how much rare colours count, as in `nst.palette.sample_palette`.
    """

    def __init__(self, styles: Sequence[Style], device: torch.device, exponent: float = 1.0):
        self.styles, self.device, self.exponent = styles, device, exponent
        self._paintings = [picture_tensor(style.picture, PALETTE_SIDE, device) for style in styles]

    def give_to(self, pixels: Tensor) -> Tensor:
        """Return a picture (1, 3, H, W) with the distribution of the paintings' colours.

        Paintings without a mask count together, by their weights. Under a mask its own painting counts, and where
        nothing is painted the colours stay as they are.
        """
        groups = [[number] for number, style in enumerate(self.styles) if style.mask is not None]
        if unmasked := [number for number, style in enumerate(self.styles) if style.mask is None]:
            groups.append(unmasked)
        recoloured, total = torch.zeros_like(pixels), torch.zeros_like(pixels[:, :1])
        small = _shrink(pixels, PALETTE_SIDE)
        for group in groups:
            weight = sum(self.styles[number].weight for number in group)
            counts = [max(1, round(PALETTE_COLOURS * self.styles[number].weight / weight)) for number in group]
            palettes = [
                sample_palette(self._paintings[number], count, self.exponent)
                for number, count in zip(group, counts, strict=True)
            ]
            colours = small[0].flatten(1).cpu()
            inside = self._mask(group[0], small)[0, 0].flatten().cpu() >= 0.5
            if inside.any():  # otherwise the mask is too small to have colours of its own
                colours = colours[:, inside]
            share = weight * self._mask(group[0], pixels)
            recoloured += share * ColourMap(colours, torch.cat(palettes, 1))(pixels)
            total += share
        return torch.lerp(pixels, recoloured / total.clamp_min(1e-6), self._painted(pixels))

    def finish(self, painted: Tensor) -> Tensor:
        """Return the painted picture (1, 3, H, W) without colour noise, in the paintings' palette."""
        return torch.lerp(painted, self.give_to(smooth_chroma(painted)), self._painted(painted))

    def _painted(self, like: Tensor) -> Tensor:
        """Return where a painting is painted, (1, 1, H, W) in [0, 1]."""
        return torch.stack([self._mask(number, like) for number in range(len(self.styles))]).amax(0)

    def _mask(self, number: int, like: Tensor) -> Tensor:
        """Return the mask of a style at the size of `like`, (1, 1, H, W); ones if it has none."""
        mask = self.styles[number].mask
        if mask is None:
            return torch.ones_like(like[:, :1])
        mask = to_tensor(mask.resize((like.shape[-1], like.shape[-2])))
        return mask.mean(1, keepdim=True).to(self.device)


def picture_tensor(picture: Image.Image, side: int, device: torch.device) -> Tensor:
    """Return a picture with a long side of `side` px, (1, 3, H, W)."""
    size = [max(MIN_SIDE, length) for length in fitted_size(picture.size, side)]
    return to_tensor(resize_picture(picture, size)).to(device)


def _shrink(pixels: Tensor, side: int) -> Tensor:
    """Return a picture (1, 3, H, W) with a long side of at most `side` px."""
    scale = side / max(pixels.shape[-2:])
    size = [max(1, round(length * scale)) for length in pixels.shape[-2:]]
    return F.interpolate(pixels, size=size, mode="area") if scale < 1 else pixels
