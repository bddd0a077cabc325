"""Sharpness: make the edges of strokes crisp at the end of a run.

The sketch averages overlapping patches, and the canvas is smooth at the finest scale. So a picture has two thirds of
the painting's contrast in details of 1 to 2 px (the median of 17 pairs at 512 px, in which published results have all
of it), and looks blurred beside them.
"""

import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from nst.io.colour import luminance
from nst.palette import LARGE_PICTURE, REDUCTION

RADIUS = 1.2  # px, the standard deviation of the blur in a picture of 512 px or less; a larger one has broader strokes
# Contrast of the luminance: weaker details are not edges. Without it, traces of JPEG compression would become visible
# in white areas, and the pattern of 4 px that the network's pooling leaves, in flat ones.
LEAST_CONTRAST = 0.03


def sharpen(pixels: Tensor, sharpness: float) -> Tensor:
    """Return a picture (1, 3, H, W) in [0, 1] with stronger details in its luminance, where it has edges.

    With the luminance l and its details d = l - G * l, G a Gaussian: l' = l + s d e / (e + n²), where s is the
    sharpness, e the local mean of d², and n the least contrast. It is an adaptive unsharp mask, after Polesel, Ramponi
    & Mathews, "Image Enhancement via Adaptive Unsharp Masking" (2000). sharpness: 0 and above; 0 returns `pixels`.
    """
    if sharpness == 0:
        return pixels
    light = luminance(pixels)
    radius = RADIUS * max(1, max(pixels.shape[-2:]) / 512)
    details = light - _blur(light, radius)
    contrast = _blur(details.square(), 2 * radius)
    return (pixels + sharpness * details * contrast / (contrast + LEAST_CONTRAST**2)).clamp_(0, 1)


def _blur(plane: Tensor, radius: float) -> Tensor:
    """Return the plane (1, 1, H, W) blurred by a Gaussian of the standard deviation `radius` px.

    A large picture is blurred at a quarter of its size.
    """
    height, width = plane.shape[-2:]
    is_large = height * width > LARGE_PICTURE
    if is_large:
        plane, radius = F.avg_pool2d(plane, REDUCTION, ceil_mode=True), radius / REDUCTION
    reach = int(3 * radius) + 1
    across, down = (2 * min(reach, side - 1) + 1 for side in (plane.shape[-1], plane.shape[-2]))
    plane = gaussian_blur(gaussian_blur(plane, [across, 1], [radius, radius]), [1, down], [radius, radius])
    return F.interpolate(plane, size=(height, width), mode="bilinear", align_corners=False) if is_large else plane
