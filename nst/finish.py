"""The finish of a run: colour noise is smoothed away, edges become crisp, and the result gets the paintings' palette.

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
from nst.io.transparency import contrasting_ground
from nst.palette import PALETTE_COLOURS, ColourMap, sample_palette, smooth_chroma
from nst.parts import inside, part_tensor
from nst.pictures import Style, groups_by_mask, mask_tensor, painted_places
from nst.saved_style import SavedStyle
from nst.settings import StyleSettings
from nst.sharpness import sharpen

SEAM = 2  # px in a picture of 512 px: half the width of the seam between the painted and the unpainted
PALETTE_SIDE = 256  # px: the size at which colours are counted


class Palette:
    """The palettes of a run's paintings, and where each of them counts.

    exponent: how much rare colours count, as in `nst.palette.sample_palette`.
    opacity: of the photo, mode L, or None: only visible pixels count when the colours of a picture are counted.
    """

    def __init__(
        self,
        styles: Sequence[Style],
        device: torch.device,
        exponent: float = 1.0,
        opacity: Image.Image | None = None,
    ):
        self.styles, self._opacity = styles, opacity
        self._palettes: list[tuple[list[int], Tensor]] = []  # of each group of styles, (3, colours)
        for group in groups_by_mask(styles):
            weight = sum(styles[number].weight for number in group)
            palettes = []
            for number in group:
                count = max(1, round(PALETTE_COLOURS * styles[number].weight / weight))
                painting = _painting_pixels(styles[number], device)
                palettes.append(sample_palette(painting, count, exponent))
            self._palettes.append((group, torch.cat(palettes, 1)))

    def fit(self, pixels: Tensor) -> "PaletteMap":
        """Return the map that gives a picture (1, 3, H, W) the distribution of the paintings' colours.

        Paintings without a mask count together, by their weights. Under a mask its own painting counts.
        """
        small = _shrink(pixels, PALETTE_SIDE)
        seen = _opacity_tensor(self._opacity, small)[0, 0].flatten().cpu() >= 0.5
        maps = []
        for group, palette in self._palettes:
            weight = sum(self.styles[number].weight for number in group)
            colours = small[0].flatten(1).cpu()
            inside = mask_tensor(self.styles[group[0]], small)[0, 0].flatten().cpu() >= 0.5
            inside &= seen
            if inside.any():  # otherwise the place is too small to have colours of its own
                colours = colours[:, inside]
            maps.append((self.styles[group[0]], weight, ColourMap(colours, palette)))
        return PaletteMap(self.styles, maps)

    def give_to(self, pixels: Tensor) -> Tensor:
        """Return a picture (1, 3, H, W) with the distribution of the paintings' colours: see `fit`."""
        return self.fit(pixels).give_to(pixels)


class PaletteMap:
    """A map of colours into the paintings' palettes, fitted to one picture. It can be used for others of its scene.

    maps: (one of its styles, weight, map) of each group of styles.
    """

    def __init__(self, styles: Sequence[Style], maps: Sequence[tuple[Style, float, ColourMap]]):
        self._styles, self._maps = styles, maps

    def give_to(self, pixels: Tensor) -> Tensor:
        """Return a picture (1, 3, H, W) in the mapped colours. Where nothing is painted they stay as they are."""
        recoloured, total = torch.zeros_like(pixels), torch.zeros_like(pixels[:, :1])
        for style, weight, colour_map in self._maps:
            share = weight * mask_tensor(style, pixels)
            recoloured += share * colour_map(pixels)
            total += share
        return torch.lerp(pixels, recoloured / total.clamp_min(1e-6), painted_places(self._styles, pixels))


def finish(
    painted: Tensor, styles: Sequence[Style], settings: StyleSettings, palette: Palette | PaletteMap | None
) -> Tensor:
    """Return the painted picture (1, 3, H, W) as the run's result shows it; `settings` say which parts are done.

    palette: of the paintings, or a map that is fitted already; None keeps the picture's colours. What is not painted
    stays as it is.
    """
    if not settings.style_weight:
        return painted
    if not settings.match_palette:
        palette = None
    finished = sharpen(smooth_chroma(painted) if palette else painted, settings.sharpness)
    if palette:
        finished = palette.give_to(finished)
    return torch.lerp(painted, finished, painted_places(styles, painted))


def _painting_pixels(style: Style, device: torch.device) -> Tensor:
    """Return the painting at the size at which its colours are counted, (1, 3, H, W).

    Of a part or of a saved style, the colours alone, (1, 3, N) or (1, 3, 1, N).
    """
    if isinstance(style.picture, SavedStyle):
        return style.picture.colours.to(device)
    painting = picture_tensor(style.picture, PALETTE_SIDE, device)
    if style.part is None:
        return painting
    return painting[..., inside(part_tensor(style.part, (painting.shape[-1], painting.shape[-2]), device))]


class Unpainted:
    """What shows where nothing is painted: the photo outside all masks, and a plain ground behind transparent parts.

    opacity: of the photo, mode L, or None.
    """

    def __init__(self, styles: Sequence[Style], photo: Image.Image, opacity: Image.Image | None):
        self._styles, self._photo, self._opacity = styles, photo, opacity
        self._resized = photo  # kept, because many previews have one size
        self._has_masks = all(style.mask is not None for style in styles)
        self.is_seen = self._has_masks or opacity is not None
        self._ground = contrasting_ground(photo, opacity) if opacity else None

    def keep(self, painted: Tensor) -> Tensor:
        """Return the painted picture (1, 3, H, W) with what is not painted. Without masks and opacity it stays."""
        size = painted.shape[-1], painted.shape[-2]
        if self._has_masks:
            if self._resized.size != size:
                self._resized = resize_picture(self._photo, size)
            photo = to_tensor(self._resized).to(painted)
            painted = torch.lerp(photo, painted, soft_inside(painted_places(self._styles, painted)))
        if self._opacity is not None:
            ground = torch.tensor(self._ground, device=painted.device).view(1, 3, 1, 1) / 255
            painted = torch.lerp(ground, painted, _opacity_tensor(self._opacity, painted))
        return painted


def soft_inside(places: Tensor) -> Tensor:
    """Return masks (1, 1, H, W) with a soft seam that lies inside them.

    Features look beyond a mask's border, and change the photo there.
    """
    radius = max(1, round(SEAM * max(places.shape[-2:]) / 512))
    window = {"kernel_size": 2 * radius + 1, "stride": 1, "padding": radius}
    return F.avg_pool2d(-F.max_pool2d(-places, **window), count_include_pad=False, **window)


def _opacity_tensor(opacity: Image.Image | None, like: Tensor) -> Tensor:
    """Return an opacity, (1, 1, H, W) in [0, 1], at the size of `like` and on its device; ones without opacity."""
    if opacity is None:
        return torch.ones_like(like[:, :1])
    size = like.shape[-1], like.shape[-2]
    return to_tensor(opacity.resize(size, Image.Resampling.BILINEAR))[:, :1].to(like)


def picture_tensor(picture: Image.Image, side: int, device: torch.device) -> Tensor:
    """Return a picture with a long side of `side` px, (1, 3, H, W)."""
    size = [max(MIN_SIDE, length) for length in fitted_size(picture.size, side)]
    return to_tensor(resize_picture(picture, size)).to(device)


def _shrink(pixels: Tensor, side: int) -> Tensor:
    """Return a picture (1, 3, H, W) with a long side of at most `side` px."""
    scale = side / max(pixels.shape[-2:])
    size = [max(1, round(length * scale)) for length in pixels.shape[-2:]]
    return F.interpolate(pixels, size=size, mode="area") if scale < 1 else pixels
