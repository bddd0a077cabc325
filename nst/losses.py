"""The losses of Gatys, Ecker & Bethge, "Image Style Transfer Using Convolutional Neural Networks" (CVPR 2016).

A style statistic has two halves. `accumulate` sums over positions, so that parts of a picture (tiles, or regions under
a mask) can be summed separately and added; `finish` makes of the sums what `compare` measures against a target. Sums
are float32 whatever the features' dtype.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.io.colour import luminance

CHUNK = 2048  # positions summed in one matrix product


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of two feature maps (N, C, H, W); a scalar.

    Gatys et al. eq. 1 halves the sum instead of taking the mean: a constant factor, part of the weight.
    """
    return squared_difference(features, target) / features.numel()


def squared_difference(features: Tensor, target: Tensor) -> Tensor:
    """The sum of squared differences of two maps of one shape, as a float32 scalar; `target` has no gradient.

    The difference is found again for the gradient: a map as large as the features is not kept until then.
    """
    return _SquaredDifference.apply(features, target)


class _SquaredDifference(torch.autograd.Function):

    @staticmethod
    def forward(ctx, features: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(features, target)
        return torch.linalg.vector_norm(features - target, dtype=torch.float32).square()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        features, target = ctx.saved_tensors
        return (features - target).mul_((2 * gradient).to(features.dtype)), None


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
        rows = _rows(features)
        if weights is None:
            return _Moments.apply(rows, False)[0], _count(rows)
        weights = weights.float().flatten(2).mT
        return _Moments.apply(rows * weights.sqrt().to(rows.dtype), False)[0], weights.sum(1, keepdim=True)

    @staticmethod
    def finish(sums: Tensor, count: Tensor) -> Tensor:
        """The statistic (N, C, C) from its sums; zero where nothing was counted."""
        return sums / count.clamp_min(1e-8)

    @staticmethod
    def scale(statistic: Tensor) -> Tensor:
        """What makes `compare` relative to a statistic: its mean square, a scalar."""
        return at_least_tiny(statistic.square().mean())


class CovarianceStyle:
    """Style as the mean and the covariance of the channels, each counting half.

    mu_i = 1/M sum_p F_ip and C_ij = 1/M sum_p (F_ip - mu_i)(F_jp - mu_j) = G_ij - mu_i mu_j. ReLU features are never
    negative, so that most of a Gram matrix is mu mu^T, how bright and coloured the picture is, and how the channels
    vary together, the strokes, is a small rest of it. And as G only fixes their sum, a wrong mean can make up for a
    wrong covariance (Risser, Wilmot & Barnes 2017, section 3). Mean and covariance are what the linear transforms of
    Li et al., "Universal Style Transfer via Feature Transforms" (2017), match.

    The statistic is (N, C, C + 1): the covariance, and the mean as one more column.
    """

    @staticmethod
    def accumulate(features: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of products (N, C, C), sums (N, C, 1) and count (N, 1, 1) over the positions of (N, C, H, W).

        weights: (N, 1, H, W), at least 0, how much each position counts; by default 1.
        """
        if weights is None:
            rows = _rows(features)
            products, sums = _Moments.apply(rows, True)
            return products, sums, _count(rows)
        products, count = GramStyle.accumulate(features, weights)
        weighted = features * weights.to(features.dtype)
        return products, weighted.sum((2, 3), dtype=torch.float32).unsqueeze(-1), count

    @staticmethod
    def finish(products: Tensor, sums: Tensor, count: Tensor) -> Tensor:
        """The statistic (N, C, C + 1) from its sums; zero where nothing was counted."""
        count = count.clamp_min(1e-8)
        mean = sums / count
        return torch.cat([products / count - mean @ mean.mT, mean], 2)

    @staticmethod
    def scale(statistic: Tensor) -> Tensor:
        """What makes `compare` relative, (1, 1, C + 1): covariance and mean count half, each over its mean square."""
        channels = statistic.shape[1]
        covariance, mean = statistic.square().split([channels, 1], 2)
        share = 2 / (channels + 1)  # the mean over all entries counts a covariance C times as often as a mean
        scales = [at_least_tiny(covariance.mean()) * share * channels] * channels + [at_least_tiny(mean.mean()) * share]
        return torch.stack(scales).view(1, 1, -1)


STATISTICS = {"gram": GramStyle, "covariance": CovarianceStyle}


def compare(statistic: Tensor, target: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Mean squared difference of two statistics, over `scale`; a scalar."""
    return (F.mse_loss(statistic, target, reduction="none") / scale).mean()


def at_least_tiny(scale: Tensor) -> Tensor:
    """`scale`, as something to divide by: a flat target divides by almost nothing, not by zero."""
    return scale.clamp_min(1e-8)


def _rows(features: Tensor) -> Tensor:
    """(N, C, H, W) as (N, P, C), a view: the rows of a whole map, whether or not it is channels_last in memory."""
    last = features.stride(1) == 1
    return features.permute(0, 2, 3, 1).flatten(1, 2) if last else features.flatten(2).mT


def _count(rows: Tensor) -> Tensor:
    return rows.new_full((len(rows), 1, 1), rows.shape[1], dtype=torch.float32)


class _Moments(torch.autograd.Function):
    """(N, P, C) to (N, C, C) and (N, C, 1), float32: over P, the sum of the rows' outer products, and of the rows if
    that is wanted.

    bf16 rows are multiplied in bf16, which processors do fast, without a float32 copy of the map. Each product is
    rounded to bf16 at its end; as sums of many chunks, added in float32, they keep an error of about 1e-4.
    Both gradients are found at once, in one map.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, with_sums: bool) -> tuple[Tensor, Tensor | None]:
        ctx.save_for_backward(rows)
        return _outer_sums(rows), rows.sum(1, dtype=torch.float32).unsqueeze(-1) if with_sums else None

    @staticmethod
    def backward(ctx, at_products: Tensor, at_sums: Tensor | None) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        matrix, sums = moments_gradient(rows.dtype, at_products, at_sums)
        return rows @ matrix if sums is None else torch.baddbmm(sums, rows, matrix), None


def moments_gradient(
    dtype: torch.dtype, at_products: Tensor, at_sums: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """What makes the gradient at rows (N, P, C), `rows @ matrix + sums`, of the losses' at their moments.

    (N, C, C) and (N, 1, C) or None, of `dtype`, given (N, C, C) and (N, C, 1) or None.
    """
    return (at_products + at_products.mT).to(dtype), None if at_sums is None else at_sums.mT.to(dtype)


def _outer_sums(rows: Tensor) -> Tensor:
    if rows.dtype.itemsize > 2:
        return (rows.mT @ rows).float()
    if rows.is_cuda:
        return torch.bmm(rows.mT, rows, out_dtype=torch.float32)
    n, positions, channels = rows.shape
    whole = positions - positions % CHUNK
    sums = rows.new_zeros((n, channels, channels), dtype=torch.float32)
    if whole:
        chunks = rows[:, :whole].unflatten(1, (-1, CHUNK)).flatten(0, 1)
        sums += torch.bmm(chunks.mT, chunks).unflatten(0, (n, -1)).sum(1, dtype=torch.float32)
    if whole < positions:
        rest = rows[:, whole:]
        sums += rest.mT @ rest
    return sums


def gram_matrix(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """The Gram matrices (N, C, C) of (N, C, H, W), divided by the number (or weight) of positions."""
    return GramStyle.finish(*GramStyle.accumulate(features, weights))


def style_loss(features: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared difference of the features' Gram matrix and a target Gram matrix (N, C, C); a scalar."""
    return compare(gram_matrix(features, weights), target)


def total_variation(pixels: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, across plus down, of (N, C, H, W); a scalar.

    Mahendran & Vedaldi, "Understanding Deep Image Representations by Inverting Them" (CVPR 2015), eq. 4 with beta = 2,
    as a mean so that the weight means the same at every size.
    """
    across = (pixels[..., :, 1:] - pixels[..., :, :-1]).square().mean()
    down = (pixels[..., 1:, :] - pixels[..., :-1, :]).square().mean()
    return across + down


def laplacian(pixels: Tensor, pool: int) -> Tensor:
    """How much lighter than its four neighbours each mean over `pool` x `pool` pixels is; of (N, 3, H, W).

    (N, 1, H / pool, W / pool), rounded up; beyond the border the picture goes on as it ends.
    """
    means = F.avg_pool2d(luminance(pixels), pool, ceil_mode=True)
    return F.conv2d(F.pad(means, (1, 1, 1, 1), mode="replicate"), _laplacian_kernel(means.dtype, means.device))


@functools.cache  # copied to a GPU once: a copy at every step would wait for it
def _laplacian_kernel(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], dtype=dtype, device=device).view(1, 1, 3, 3)


def laplacian_loss(pixels: Tensor, targets: dict[int, Tensor]) -> Tensor:
    """Mean squared difference of the Laplacians of (N, 3, H, W) to `targets`, by their pools; a scalar.

    Li, Xu, Nie & Liu, "Laplacian-Steered Neural Style Transfer" (ACM Multimedia 2017), eq. 5 and 8: outlines, which
    features keep only roughly. Of the luminance, so that colours are free, and as a mean over positions and pools.
    """
    differences = [laplacian(pixels, pool) - target for pool, target in targets.items()]
    return torch.stack([difference.square().mean() for difference in differences]).mean()
