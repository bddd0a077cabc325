"""Colours: move a photo into a painting's palette, carry colours to a larger size, and take colour noise away.

Pictures are (1, 3, H, W) float32 RGB in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

PALETTE_COLOURS = 16_384  # taken from a painting
PALETTE_BINS = 8  # per channel: how finely colours are told apart when they are counted
ROTATIONS = 8  # a matched axis changes the others a little; after eight rotations all are close
QUANTILES = 256
COLOURS_AT_ONCE = 1 << 18  # mapped: the parts stay in the cache, which halves the time at 4096 px
LARGE_PICTURE = 2048 * 2048  # pixels: more are filtered with the coefficients of a smaller picture
REDUCTION = 4  # of that smaller picture: 30 times as fast at 4096 px, with a mean difference of 0.23 of 255
CHROMA_RADIUS = 4  # px, the radius of the chroma's filter in a picture of 512 px
LUMINANCE_NOISE = 2e-3  # variance: smaller differences of the luminance are not taken as the borders of colours
COLOUR_NOISE = 1e-3  # the same for the colours of a photo
YCC = ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))  # luminance and chroma (ITU-R BT.601)


def sample_palette(pixels: Tensor, count: int = PALETTE_COLOURS, exponent: float = 1.0) -> Tensor:
    """Return `count` colours of a painting, (1, 3, H, W) or (1, 3, positions), as (3, count).

    A colour whose share of the painting is s counts as s ** `exponent`: below 1, rare colours become more frequent.
    """
    colours = pixels[0].flatten(1).float().cpu()
    number = colour_bins(colours)
    counts = torch.bincount(number, minlength=PALETTE_BINS**3).double()
    weights = counts[number] ** (exponent - 1)
    # Ordered by their bins and taken at even distances: the same painting always gives the same colours.
    order = number.argsort(stable=True)
    ends = weights[order].cumsum(0)
    places = (torch.arange(count, dtype=torch.double) + 0.5) / count * ends[-1]
    return colours[:, order[torch.searchsorted(ends, places).clamp_max(len(order) - 1)]]


def colour_bins(colours: Tensor) -> Tensor:
    """Return the number of the bin of each colour (3, N), (N)."""
    bins = (colours * PALETTE_BINS).long().clamp(0, PALETTE_BINS - 1)
    return (bins[0] * PALETTE_BINS + bins[1]) * PALETTE_BINS + bins[2]


class ColourMap:
    """A map of colours that gives a picture the distribution of a palette's colours.

    Pitié, Kokaram & Dahyot, "Automated colour grading using colour distribution transfer" (2007), section 3: rotate the
    colours, match the distributions along each axis, rotate back; again with other rotations. The first and the last
    rotation are the palette's principal axes, so that a grey painting gives grey.
    """

    def __init__(self, pixels: Tensor, palette: Tensor):
        """
        pixels: the picture whose colours are mapped, (1, 3, H, W) or (3, N). palette: (3, M).
        """
        generator = torch.Generator().manual_seed(0)
        colours = (pixels[0].flatten(1) if pixels.ndim == 4 else pixels).float().cpu()
        axes = torch.linalg.eigh(torch.cov(palette.double()))[1].T.float()
        self.steps: list[tuple[Tensor, Tensor, Tensor]] = []  # rotation, quantiles before, quantiles after
        for number in range(ROTATIONS):
            random = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
            rotation = axes if number in (0, ROTATIONS - 1) else random
            self.steps.append((rotation, _quantiles(rotation @ colours), _quantiles(rotation @ palette)))
            colours = _map_axes(colours, *self.steps[-1])

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return a picture (1, 3, H, W) of any size in the mapped colours."""
        steps = [tuple(x.to(pixels.device) for x in step) for step in self.steps]
        mapped = []
        rows = pixels[0].flatten(1).float()
        for colours in rows.split(COLOURS_AT_ONCE, 1):
            for step in steps:
                colours = _map_axes(colours, *step)
            mapped.append(colours)
        return torch.cat(mapped, 1).view_as(pixels).clamp_(0, 1)


def _quantiles(values: Tensor) -> Tensor:
    """Return `QUANTILES` values of each row of (3, N), from the smallest to the largest."""
    return torch.quantile(values, torch.linspace(0, 1, QUANTILES), dim=1).T.contiguous()


def _map_axes(colours: Tensor, rotation: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Map the colours (3, N) along each rotated axis from the one set of quantiles (3, Q) to the other."""
    rotated = rotation @ colours
    right = torch.searchsorted(before, rotated).clamp(1, QUANTILES - 1)
    low, high = before.gather(1, right - 1), before.gather(1, right)
    share = ((rotated - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    return rotation.T @ torch.lerp(after.gather(1, right - 1), after.gather(1, right), share)


def transfer_colours(source: Tensor, target: Tensor, picture: Tensor, radius: int = 4) -> Tensor:
    """Return `picture` in the colours that lead from `source` to `target`, by local affine maps of colours.

    source, target: of one size, the same picture in old and new colours. picture: `source` at any size. radius: in px
    of `source`, half the side of the window of each map.

    He, Sun & Tang, "Guided Image Filtering" (2013), section 3.4, with the maps computed at the smaller size as in He &
    Sun, "Fast Guided Filter" (2015). The picture's edges stay sharp: it is mapped, and not enlarged.
    """
    height, width = source.shape[-2:]
    mean_source, mean_target = _box(source, radius), _box(target, radius)

    def covariance(a: Tensor, b: Tensor, mean_a: Tensor, mean_b: Tensor) -> Tensor:
        products = _box((a[:, :, None] * b[:, None]).flatten(1, 2), radius).view(3, 3, height, width)
        return (products - mean_a[0, :, None] * mean_b[0, None]).permute(2, 3, 0, 1)

    spread = covariance(source, source, mean_source, mean_source)
    spread = spread + COLOUR_NOISE * torch.eye(3, device=source.device)
    matrix = torch.linalg.solve(spread, covariance(source, target, mean_source, mean_target))
    matrix = matrix.permute(3, 2, 0, 1)  # (3 out, 3 in, H, W)
    shift = mean_target[0] - (matrix * mean_source).sum(1)
    maps = torch.cat([matrix.flatten(0, 1), shift])[None]
    maps = F.interpolate(_box(maps, radius), size=picture.shape[-2:], mode="bilinear", align_corners=False)[0]
    return ((maps[:9].unflatten(0, (3, 3)) * picture).sum(1) + maps[9:])[None].clamp(0, 1)


def smooth_chroma(pixels: Tensor) -> Tensor:
    """Return the picture with its chroma smoothed along its own luminance: without colour noise, with sharp borders.

    A guided filter (He, Sun & Tang 2013, equations 5 and 6) with the luminance as the guide. Its two coefficients are
    smooth, so those of a large picture are computed at a quarter of its size (He & Sun, "Fast Guided Filter", 2015).
    """
    matrix = torch.tensor(YCC, device=pixels.device)
    planes = torch.einsum("ij,bjhw->bihw", matrix, pixels)
    height, width = pixels.shape[-2:]
    is_large = height * width > LARGE_PICTURE
    small = F.avg_pool2d(planes, REDUCTION, ceil_mode=True) if is_large else planes
    radius = max(1, round(CHROMA_RADIUS * max(small.shape[-2:]) / 512))
    slope, shift = _guided_coefficients(small[:, :1], small[:, 1:], radius)
    if is_large:
        enlarged = {"size": (height, width), "mode": "bilinear", "align_corners": False}
        slope, shift = F.interpolate(slope, **enlarged), F.interpolate(shift, **enlarged)
    planes[:, 1:] = slope.mul_(planes[:, :1]).add_(shift)
    return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(matrix), planes).clamp_(0, 1)


def _guided_coefficients(light: Tensor, chroma: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Return the slope and the shift, (1, 2, H, W) each, with which the smooth chroma follows the luminance."""
    mean_light, mean_chroma = _box(light, radius), _box(chroma, radius)
    slope = (_box(light * chroma, radius) - mean_light * mean_chroma) / (
        _box(light * light, radius) - mean_light.square() + LUMINANCE_NOISE
    )
    return _box(slope, radius), _box(mean_chroma - slope * mean_light, radius)


def _box(x: Tensor, radius: int) -> Tensor:
    """Return the means over squares of 2 x radius + 1 px; beyond the border the picture is mirrored."""
    radius = min(radius, min(x.shape[-2:]) - 1)
    window = 2 * radius + 1
    x = F.avg_pool2d(F.pad(x, (radius, radius, 0, 0), mode="reflect"), (1, window), 1)
    return F.avg_pool2d(F.pad(x, (0, 0, radius, radius), mode="reflect"), (window, 1), 1)
