"""Colours: luminance and grey, and pictures that take over the colours or the luminance of another.

To preserve the photo's colours, a run paints its luminance alone (Gatys et al., "Preserving Color in Neural Artistic
Style Transfer", 2016, section 4): the losses compare photo and style in grey. In each pixel, their gradient then has
the same sign in red, green and blue. Adam's steps do not depend on the gradient's size, so that all three channels move
by the same amount, and the differences between them, which are the colour, stay those of the photo.
"""

import functools

import torch
from torch import Tensor

WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue in the luminance (ITU-R BT.601)


def luminance(pixels: Tensor) -> Tensor:
    """Return the luminance, (N, 1, H, W), of RGB pixels, (N, 3, H, W)."""
    return (pixels * _weights(pixels.dtype, pixels.device)).sum(1, keepdim=True)


def grey(pixels: Tensor) -> Tensor:
    """Return the luminance of (N, 3, H, W) in all three channels: (N, 3, H, W)."""
    return luminance(pixels).expand_as(pixels).contiguous()


@functools.cache  # copied to a GPU once: a copy in every step would wait for the GPU
def _weights(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(WEIGHTS, dtype=dtype, device=device).view(1, 3, 1, 1)


def recolour(pixels: Tensor, photo: Tensor) -> Tensor:
    """Return the luminance of `pixels` in the colours of `photo`, clamped; all are (N, 3, H, W) in [0, 1]."""
    return (photo + grey(pixels) - grey(photo)).clamp(0, 1)


def match_luminance(style: Tensor, photo: Tensor, counted: Tensor | slice = slice(None)) -> Tensor:
    """Return `style` in grey, with the mean and the standard deviation of the photo's luminance.

    All are (N, 3, H, W) in [0, 1]. L' = (L - mean L) std L_photo / std L + mean L_photo, clamped to [0, 1] (as in the
    paper above). counted: (H, W), True for the pixels of the style that its mean and deviation are taken of.
    """
    style, photo = grey(style), grey(photo)
    seen = style[..., counted]
    scale = photo.std(correction=0) / seen.std(correction=0).clamp_min(1e-3)
    return ((style - seen.mean()) * scale + photo.mean()).clamp(0, 1)


def match_covariance(pixels: Tensor, other: Tensor) -> Tensor:
    """Return `pixels` with the mean and the covariance of red, green and blue of `other`; all (1, 3, H, W) in [0, 1].

    x' = T (x - mu) + mu_other with T = C^-1/2 (C^1/2 C_other C^1/2)^1/2 C^-1/2. Of all linear maps from the one
    covariance to the other, this one moves the colours least (Pitié and Kokaram, "The linear Monge-Kantorovitch linear
    colour mapping for example-based colour transfer", 2007, equation 11).
    """
    (rows, mean, covariance), (_, other_mean, other_covariance) = map(_colour_statistics, (pixels, other))
    root, inverse = _power(covariance, 0.5), _power(covariance, -0.5)
    transform = inverse @ _power(root @ other_covariance @ root, 0.5) @ inverse
    moved = transform @ (rows - mean) + other_mean
    return moved.view_as(pixels).to(pixels).clamp(0, 1)


def _colour_statistics(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the colours as (3, positions), their mean and their covariance, in double precision."""
    rows = pixels[0].flatten(1).cpu().double()
    return rows, rows.mean(1, keepdim=True), torch.cov(rows, correction=0) + 1e-6 * torch.eye(3, dtype=torch.double)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Return a power of a symmetric positive definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp_min(1e-12) ** exponent @ vectors.mT
