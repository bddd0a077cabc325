"""Colours taken over, and colours kept.

The photo keeps its own where luminance alone is painted (Gatys et al., "Preserving Color in Neural Artistic Style
Transfer", 2016, section 4): photo and style are looked at in grey. Where grey is what the losses see, their gradient
moves red, green and blue of a pixel alike, and the optimiser, which is blind to the gradient's size, takes equal steps
in all three: the picture's colour differences stay the photo's.
"""

import functools

import torch
from torch import Tensor

WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue in luminance (ITU-R BT.601)


def luminance(pixels: Tensor) -> Tensor:
    """(N, 1, H, W) of (N, 3, H, W)."""
    return (pixels * _weights(pixels.dtype, pixels.device)).sum(1, keepdim=True)


def grey(pixels: Tensor) -> Tensor:
    """(N, 3, H, W) with the luminance in all three channels."""
    return luminance(pixels).expand_as(pixels).contiguous()


def grey_gradient(gradient: Tensor) -> Tensor:
    """The gradient at pixels, given that at their `grey`: (N, 3, H, W) both."""
    return gradient.sum(1, keepdim=True) * _weights(gradient.dtype, gradient.device)


@functools.cache  # copied to a GPU once: a copy at every step would wait for it
def _weights(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(WEIGHTS, dtype=dtype, device=device).view(1, 3, 1, 1)


def with_colours_of(pixels: Tensor, photo: Tensor) -> Tensor:
    """The luminance of `pixels` in the colours of `photo`, (N, 3, H, W) in [0, 1]."""
    return (photo + grey(pixels) - grey(photo)).clamp(0, 1)


def with_luminance_of(style: Tensor, photo: Tensor) -> Tensor:
    """`style` in grey, as bright and as contrasty as `photo`: L' = (L - mean L) std L_photo / std L + mean L_photo."""
    style, photo = grey(style), grey(photo)
    scale = photo.std(correction=0) / style.std(correction=0).clamp_min(1e-3)
    return ((style - style.mean()) * scale + photo.mean()).clamp(0, 1)


def with_covariance_of(pixels: Tensor, other: Tensor) -> Tensor:
    """`pixels`, (1, 3, H, W) in [0, 1], with the mean and covariance of red, green and blue of `other`.

    x' = T (x - mu) + mu_other with T = C^-1/2 (C^1/2 C_other C^1/2)^1/2 C^-1/2, of all linear maps that take one
    covariance to the other the one that moves colours least (Pitie & Kokaram 2007, "The linear Monge-Kantorovitch
    linear colour mapping for example-based colour transfer", eq. 11).
    """
    (rows, mean, covariance), (_, other_mean, other_covariance) = map(_colours, (pixels, other))
    root, inverse = _power(covariance, 0.5), _power(covariance, -0.5)
    transform = inverse @ _power(root @ other_covariance @ root, 0.5) @ inverse
    moved = transform @ (rows - mean) + other_mean
    return moved.view_as(pixels).to(pixels).clamp(0, 1)


def _colours(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(3, positions), their mean and their covariance, in double precision."""
    rows = pixels[0].flatten(1).cpu().double()
    return rows, rows.mean(1, keepdim=True), torch.cov(rows, correction=0) + 1e-6 * torch.eye(3, dtype=torch.double)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Of a symmetric positive definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp_min(1e-12) ** exponent @ vectors.mT
