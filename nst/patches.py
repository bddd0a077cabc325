"""Patches: replace every patch of a picture by the most similar one of the paintings, as the sketch does.

All pictures are (1, 3, H, W) in [0, 1]. `nst.sketch` names the paper.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.parts import whole_patches
from nst.saved_style import SavedPatches

MOST_PATCHES = 6000  # of a painting, taken at even distances: comparing takes time in proportion to them
CHUNK = 4096  # patches of the picture compared at once
COMPONENTS = 64  # the principal components of patches that are compared
COARSE_PATCH = 20  # px: larger patches are compared at a third of their size
# How freely a patch is used again. A small number makes each one's best partner take it, and pastes whole objects of a
# painting; a large number leaves flat areas flat (Granot et al., "Drop the GAN", 2022, equation 3).
COMPLETENESS = 0.4
# Overlapping patches are averaged robustly, by the power 0.8 of their distances (Elad & Milanfar, equation 8): a plain
# average is blurred.
ROBUSTNESS, REWEIGHTINGS = 0.8, 2


def patch_distance(area: float, side: int) -> int:
    """Return the px between two patches of `side` px that are taken from paintings. area: the places for a patch."""
    return max(2, side // 4, math.ceil(math.sqrt(area / MOST_PATCHES)))


def replace_patches(
    picture: Tensor,
    paintings: Sequence[Tensor | SavedPatches],
    weights: Sequence[float],
    side: int,
    parts: Sequence[Tensor | None] | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Return the picture (1, 3, H, W) with every patch of `side` px replaced by the most similar one of the paintings.

    paintings: (1, 3, h, w) each, or the patches of a saved style. weights: of the paintings; a larger one makes its
    patches count as more similar.
    parts: (1, 1, h, w) each: only patches that lie in a painting's part are taken; None is everywhere. Without any such
    patch the picture stays as it is.
    known: (1, 1, H, W); patches in which it is 1 everywhere stay.
    """
    height, width = picture.shape[-2:]
    stride = max(2, side // 4)
    border = (0, -(width - side) % stride, 0, -(height - side) % stride)
    padded = F.pad(picture, border, mode="replicate")
    queries = F.unfold(padded, side, stride=stride)[0].T
    if known is not None:
        hidden = F.unfold(F.pad(known, border, mode="replicate"), side, stride=stride)[0].amin(0) < 1
        if not hidden.any():
            return picture
    patches, factors = [], []
    for painting, weight, part in zip(paintings, weights, parts or [None] * len(paintings), strict=True):
        if isinstance(painting, SavedPatches):
            patches.append(painting.by_side[side].rows(side, picture.device))
        elif part is None:
            area = (painting.shape[-2] - side + 1) * (painting.shape[-1] - side + 1)
            patches.append(F.unfold(painting, side, stride=patch_distance(area * len(paintings), side))[0].T)
        else:
            places = _sample(whole_patches(part, side), MOST_PATCHES / len(paintings))
            patches.append(_patches_at(painting, places, side))
        factors.append(torch.full((len(patches[-1]),), max(weights) / weight, device=picture.device))
    patches = torch.cat(patches)
    if not len(patches):
        return picture
    replaced = queries if known is None else queries[hidden]
    compared, of_paintings = _components(_compared(replaced, side), _compared(patches, side))
    chosen = patches[_nearest(compared, of_paintings, torch.cat(factors))]
    if known is not None:
        chosen = queries.masked_scatter(hidden[:, None], chosen)
    return _assemble(chosen, padded, side, stride)[..., :height, :width]


def _sample(places: Tensor, most: float) -> Tensor:
    """Return at most so many rows of `places`, drawn at random, but the same in every run."""
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))
    return places[order[: max(1, int(most))].to(places.device)]


def _patches_at(painting: Tensor, places: Tensor, side: int) -> Tensor:
    """Return the patches of a painting whose corners are at `places`, (N, 2), as rows: (N, 3 x side x side)."""
    windows = painting[0].unfold(1, side, 1).unfold(2, side, 1)  # a view
    return windows[:, places[:, 0], places[:, 1]].transpose(0, 1).flatten(1)


def _compared(patches: Tensor, side: int) -> Tensor:
    """Return patches (N, 3 x side x side) as they are compared: large ones averaged over 3x3 px."""
    if side < COARSE_PATCH:
        return patches
    return F.avg_pool2d(patches.unflatten(1, (3, side, side)), 3).flatten(1)


def _components(queries: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as the principal components of `patches`, (N, `COMPONENTS`) or fewer."""
    mean = patches.mean(0)
    axes = torch.linalg.eigh(torch.cov(patches.T))[1][:, -COMPONENTS:]
    return (queries - mean) @ axes, (patches - mean) @ axes


def _nearest(queries: Tensor, patches: Tensor, factors: Tensor) -> Tensor:
    """Return the number of the most similar patch for each query.

    The squared distance is multiplied by the patch's factor and divided by the smallest distance that any query (of a
    quarter of them) has to this patch, plus `COMPLETENESS` times the patches' mean size.
    """
    sizes = patches.square().sum(1)
    # |q - p|² = |q|² - 2 q p + |p|² as one product of matrices.
    left = torch.cat([queries, queries.square().sum(1, keepdim=True), torch.ones_like(queries[:, :1])], 1)
    right = torch.cat([-2 * patches, torch.ones_like(sizes)[:, None], sizes[:, None]], 1).T.contiguous()
    best = torch.stack([(part @ right).amin(0) for part in left[::4].split(CHUNK)]).amin(0).clamp_min(0)
    scales = factors / (best + COMPLETENESS * sizes.mean()).clamp_min(1e-8)
    return torch.cat([(part @ right).mul_(scales).argmin(1) for part in left.split(CHUNK)])


def _assemble(patches: Tensor, picture: Tensor, side: int, stride: int) -> Tensor:
    """Return the robust average of overlapping patches (N, 3 x side x side), of the size of `picture`.

    Iteratively reweighted least squares: a patch counts by its distance to the picture so far, to the power r - 2.
    """
    window = torch.hann_window(side + 2, periodic=False, device=picture.device)[1:-1]
    window = (window[:, None] * window).sqrt().flatten().repeat(3)
    size = picture.shape[-2:]
    for _ in range(REWEIGHTINGS):
        distances = (F.unfold(picture, side, stride=stride)[0].T - patches).square().mean(1)
        weights = (distances + 1e-4) ** (ROBUSTNESS / 2 - 1)
        weights = (weights / weights.mean())[:, None] * window
        total = F.fold(weights.T[None], size, side, stride=stride)
        picture = F.fold((weights * patches).T[None], size, side, stride=stride) / total.clamp_min(1e-8)
    return picture
