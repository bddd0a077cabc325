"""Local colours: carry a painting's colours to a larger size, and take colour noise away.

Pictures are (1, 3, H, W) float32 RGB in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CHROMA_RADIUS = 4  # px, the radius of the chroma's filter in a picture of 512 px
LUMINANCE_NOISE = 2e-3  # variance: smaller differences of the luminance are not taken as the borders of colours
COLOUR_NOISE = 1e-3  # the same for the colours of a photo
YCC = ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))  # luminance and chroma (ITU-R BT.601)


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

    A guided filter (He, Sun & Tang 2013, equations 5 and 6) with the luminance as the guide.
    """
    radius = max(1, round(CHROMA_RADIUS * max(pixels.shape[-2:]) / 512))
    matrix = torch.tensor(YCC, device=pixels.device)
    planes = torch.einsum("ij,bjhw->bihw", matrix, pixels)
    light, chroma = planes[:, :1], planes[:, 1:]
    mean_light, mean_chroma = _box(light, radius), _box(chroma, radius)
    slope = (_box(light * chroma, radius) - mean_light * mean_chroma) / (
        _box(light * light, radius) - mean_light.square() + LUMINANCE_NOISE
    )
    chroma = _box(slope, radius) * light + _box(mean_chroma - slope * mean_light, radius)
    smooth = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(matrix), torch.cat([light, chroma], 1))
    return smooth.clamp(0, 1)


def _box(x: Tensor, radius: int) -> Tensor:
    """Return the means over squares of 2 x radius + 1 px; beyond the border the picture is mirrored."""
    radius = min(radius, min(x.shape[-2:]) - 1)
    window = 2 * radius + 1
    x = F.avg_pool2d(F.pad(x, (radius, radius, 0, 0), mode="reflect"), (1, window), 1)
    return F.avg_pool2d(F.pad(x, (0, 0, radius, radius), mode="reflect"), (window, 1), 1)
