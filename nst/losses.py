"""The losses of Gatys, Ecker & Bethge, "Image Style Transfer Using Convolutional Neural Networks" (CVPR 2016).

Every loss depends on the picture through sums over positions only: squared differences for the content, products of
channels for the style. Sums can be added up over parts of a picture (tiles, or regions under a mask). So a style
statistic has two halves: `accumulate` sums over positions, and `finish` turns the sums into the statistic, which
`compare` measures against a target. Sums are float32, whatever the dtype of the features.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.io.colour import luminance

SMALLEST_SCALE = 1e-8  # a flat target has a scale of 0; its loss is divided by this instead
SMALLEST_LEVEL = 16  # px on the short side: a smaller level has too few positions for reliable statistics
AREAS_ACROSS = 24  # squares along the long side; 16 and 32 keep the layout too
SMALLEST_VARIANCE = 0.01  # of the colours of broad areas: a flat photo's layout must not forbid strokes
CHUNK = 2048  # positions in one bf16 matrix product; see `_Moments`

# --- content ----------------------------------------------------------------------------------------------------------


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of two feature maps (N, C, H, W), a scalar.

    Gatys et al. eq. 1 takes half of the sum instead of the mean. That is a constant factor, a part of the weight.
    """
    return squared_difference(features, target) / features.numel()


def squared_difference(features: Tensor, target: Tensor) -> Tensor:
    """Return the sum of squared differences of two maps of one shape, a float32 scalar. `target` gets no gradient.

    The backward pass computes the difference again, so that no map as large as the features is stored until then.
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


# --- style ------------------------------------------------------------------------------------------------------------


def gram_matrix(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the Gram matrices (N, C, C) of features (N, C, H, W), divided by the number (or weight) of positions.

    weights: (N, 1, H, W), at least 0: how much each position counts; by default 1.
    """
    return GramStyle.finish(*GramStyle.accumulate(features, weights))


def style_loss(features: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean squared difference of the features' Gram matrix and a target Gram matrix (N, C, C), a scalar."""
    return compare(gram_matrix(features, weights), target)


class GramStyle:
    """Style as the Gram matrix: which channels are active together, anywhere in the picture.

    G_ij = 1/M sum_p F_ip F_jp over the M positions p (Gatys et al. eq. 3, divided by M so that pictures of different
    sizes can be compared). `compare` takes the mean over the C x C entries, which is 4 times the paper's E_l (eq. 4):
    E_l = 1/(4 C^2 M^2) sum_ij (M G_ij - M A_ij)^2.
    """

    @staticmethod
    def accumulate(features: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the sums (N, C, C) and the count (N, 1, 1) over the positions of features (N, C, H, W).

        weights: (N, 1, H, W), at least 0: how much each position counts; by default 1.
        """
        rows = _rows(features)
        if weights is None:
            return _Moments.apply(rows, False)[0], _count(rows)
        weights = weights.float().flatten(2).mT
        return _Moments.apply(rows * weights.sqrt().to(rows.dtype), False)[0], weights.sum(1, keepdim=True)

    @staticmethod
    def finish(sums: Tensor, count: Tensor) -> Tensor:
        """Return the Gram matrix (N, C, C) from its sums; zeros where nothing was counted."""
        return sums / count.clamp_min(1e-8)

    @staticmethod
    def scale(statistic: Tensor) -> Tensor:
        """Return what a loss is divided by to be relative to this statistic: its mean square, a scalar."""
        return statistic.square().mean().clamp_min(SMALLEST_SCALE)


class CovarianceStyle:
    """Style as the mean and the covariance of the channels; each counts half.

    mu_i = 1/M sum_p F_ip and C_ij = 1/M sum_p (F_ip - mu_i)(F_jp - mu_j) = G_ij - mu_i mu_j. ReLU features are never
    negative, so most of a Gram matrix is mu mu^T: how bright and how coloured the picture is. How the channels vary
    together, which is the strokes, is a small remainder of it. And because G fixes only the sum of both, a wrong mean
    can make up for a wrong covariance (Risser, Wilmot & Barnes 2017, section 3). The linear transforms of Li et al.,
    "Universal Style Transfer via Feature Transforms" (2017), match mean and covariance too.

    The statistic is (N, C, C + 1): the covariance, and the mean as one more column.
    """

    @staticmethod
    def accumulate(features: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return sums of products (N, C, C), sums (N, C, 1) and the count (N, 1, 1) over positions of (N, C, H, W).

        weights: (N, 1, H, W), at least 0: how much each position counts; by default 1.
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
        """Return the statistic (N, C, C + 1) from its sums; zeros where nothing was counted."""
        count = count.clamp_min(1e-8)
        mean = sums / count
        return torch.cat([products / count - mean @ mean.mT, mean], 2)

    @staticmethod
    def scale(statistic: Tensor) -> Tensor:
        """Return what a loss is divided by to be relative to this statistic, (1, 1, C + 1).

        The covariance and the mean count half each, and each is divided by its own mean square.
        """
        channels = statistic.shape[1]
        covariance, mean = statistic.square().split([channels, 1], 2)
        half = 2 / (channels + 1)  # the mean over all entries counts a covariance C times as often as a mean
        covariance_scale = covariance.mean().clamp_min(SMALLEST_SCALE) * half * channels
        mean_scale = mean.mean().clamp_min(SMALLEST_SCALE) * half
        return torch.stack([covariance_scale] * channels + [mean_scale]).view(1, 1, -1)


STATISTICS = {"gram": GramStyle, "covariance": CovarianceStyle}


def compare(statistic: Tensor, target: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Return the mean squared difference of two statistics, divided by `scale`, a scalar."""
    return (F.mse_loss(statistic, target, reduction="none") / scale).mean()


def image_pyramid(pixels: Tensor, levels: int) -> list[Tensor]:
    """Return the picture, its half size, and so on, at most `levels` of them (Snelgrove 2017)."""
    pyramid = [pixels]
    while len(pyramid) < levels and min(pyramid[-1].shape[-2:]) >= 2 * SMALLEST_LEVEL:
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid


def _rows(features: Tensor) -> Tensor:
    """Return (N, C, H, W) as rows (N, P, C), one for each position: a view, also of channels_last memory."""
    is_channels_last = features.stride(1) == 1
    return features.permute(0, 2, 3, 1).flatten(1, 2) if is_channels_last else features.flatten(2).mT


def _count(rows: Tensor) -> Tensor:
    return rows.new_full((len(rows), 1, 1), rows.shape[1], dtype=torch.float32)


class _Moments(torch.autograd.Function):
    """The sum over P of the outer products of rows (N, P, C), (N, C, C); and, with `with_sums`, of the rows, (N, C, 1).

    Both results are float32. bf16 rows are multiplied in bf16, which processors do fast, without a float32 copy of the
    map. Each bf16 product is rounded at its end; sums over chunks of `CHUNK` positions, added in float32, keep the
    error at about 1e-4. The backward pass writes the sum of both gradients into one map.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, with_sums: bool) -> tuple[Tensor, Tensor | None]:
        ctx.save_for_backward(rows)
        return _outer_sums(rows), rows.sum(1, dtype=torch.float32).unsqueeze(-1) if with_sums else None

    @staticmethod
    def backward(ctx, at_products: Tensor, at_sums: Tensor | None) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        matrix = (at_products + at_products.mT).to(rows.dtype)
        return rows @ matrix if at_sums is None else torch.baddbmm(at_sums.mT.to(rows.dtype), rows, matrix), None


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


# --- losses of the pixels themselves ----------------------------------------------------------------------------------


def total_variation(pixels: Tensor) -> Tensor:
    """Return the mean squared difference of neighbouring pixels of (N, 3, H, W), across plus down, a scalar.

    Mahendran & Vedaldi, "Understanding Deep Image Representations by Inverting Them" (CVPR 2015), eq. 4 with beta = 2;
    a mean, so that the weight means the same at every size.
    """
    across = (pixels[..., :, 1:] - pixels[..., :, :-1]).square().mean()
    down = (pixels[..., 1:, :] - pixels[..., :-1, :]).square().mean()
    return across + down


def laplacian_loss(pixels: Tensor, targets: dict[int, Tensor]) -> Tensor:
    """Return the mean squared difference of the Laplacians of (N, 3, H, W) to `targets`, which are by pool, a scalar.

    Li, Xu, Nie & Liu, "Laplacian-Steered Neural Style Transfer" (ACM Multimedia 2017), eq. 5 and 8: the outlines of
    the photo, which features keep only roughly. It looks at the luminance, so that colours are free.
    """
    differences = [laplacian(pixels, pool) - target for pool, target in targets.items()]
    return torch.stack([difference.square().mean() for difference in differences]).mean()


def broad_areas(pixels: Tensor) -> Tensor:
    """Return the mean colours of broad areas of (N, 3, H, W): squares of 1 / `AREAS_ACROSS` of the long side."""
    side = max(4, max(pixels.shape[-2:]) // AREAS_ACROSS)
    return F.avg_pool2d(pixels, side, ceil_mode=True)


def layout_loss(pixels: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of the broad areas of (N, 3, H, W) to `target`, relative to its variance.

    It keeps one colour for one thing. Without it, a covariance of the whole picture is met by clouds of the painting's
    colours wherever the photo is flat.
    """
    return F.mse_loss(broad_areas(pixels), target) / target.var().clamp_min(SMALLEST_VARIANCE)


def laplacian(pixels: Tensor, pool: int) -> Tensor:
    """Return the Laplacian of the luminance of (N, 3, H, W), averaged over `pool` x `pool` pixels first.

    (N, 1, H / pool, W / pool), rounded up: how much lighter each mean is than its four neighbours. Beyond the border
    the last row or column is repeated.
    """
    means = F.avg_pool2d(luminance(pixels), pool, ceil_mode=True)
    return F.conv2d(F.pad(means, (1, 1, 1, 1), mode="replicate"), _laplacian_kernel(means.dtype, means.device))


@functools.cache  # the kernel goes to a GPU once: a copy at every step would make the GPU wait
def _laplacian_kernel(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], dtype=dtype, device=device).view(1, 1, 3, 3)
