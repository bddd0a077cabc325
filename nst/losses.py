"""The losses of Gatys, Ecker & Bethge, "Image Style Transfer Using Convolutional Neural Networks" (CVPR 2016).

A style loss has two halves. `accumulate` sums a statistic over positions, so that parts of a picture (tiles, or regions
under a mask) can be summed separately and added; `compare` measures the finished statistic against its target. Sums are
float32 whatever the features' dtype.
"""

import torch.nn.functional as F
from torch import Tensor


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of two feature maps (N, C, H, W); a scalar.

    Gatys et al. eq. 1 halves the sum instead of taking the mean: a constant factor, part of the weight.
    """
    return F.mse_loss(features.float(), target.float())


class GramStyle:
    """Style as the Gram matrix: which channels are active together, wherever in the picture.

    G_ij = 1/M sum_p F_ip F_jp over the M positions p (Gatys et al. eq. 3, divided by M so that pictures of different
    sizes can be compared). With the mean over C x C entries, `compare` is 4 times the paper's E_l (eq. 4):
    E_l = 1/(4 C^2 M^2) sum_ij (M G_ij - M A_ij)^2.
    """

    @staticmethod
    def accumulate(features: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Sums (N, C, C) and count (N, 1, 1) over the positions of (N, C, H, W).

        weights: (N, 1, H, W), at least 0, how much each position counts; by default 1.
        """
        flat = features.float().flatten(2)
        if weights is None:
            return flat @ flat.mT, flat.new_full((len(flat), 1, 1), flat.shape[2])
        weights = weights.float().flatten(2)
        return (flat * weights) @ flat.mT, weights.sum(2, keepdim=True)

    @staticmethod
    def finish(sums: Tensor, count: Tensor) -> Tensor:
        """The statistic (N, C, C) from its sums; zero where nothing was counted."""
        return sums / count.clamp_min(1e-8)

    @staticmethod
    def compare(statistic: Tensor, target: Tensor) -> Tensor:
        """Mean squared difference of two Gram matrices; a scalar."""
        return F.mse_loss(statistic, target)


def gram_matrix(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """The Gram matrices (N, C, C) of (N, C, H, W), divided by the number (or weight) of positions."""
    return GramStyle.finish(*GramStyle.accumulate(features, weights))


def style_loss(features: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared difference of the features' Gram matrix and a target Gram matrix (N, C, C); a scalar."""
    return GramStyle.compare(gram_matrix(features, weights), target)


def total_variation(pixels: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, across plus down, of (N, C, H, W); a scalar.

    Mahendran & Vedaldi, "Understanding Deep Image Representations by Inverting Them" (CVPR 2015), eq. 4 with beta = 2,
    as a mean so that the weight means the same at every size.
    """
    across = (pixels[..., :, 1:] - pixels[..., :, :-1]).square().mean()
    down = (pixels[..., 1:, :] - pixels[..., :-1, :]).square().mean()
    return across + down
