"""The sketch: the photo put together from patches of the paintings, small and without a network.

Elad & Milanfar, "Style Transfer Via Texture Synthesis" (IEEE Transactions on Image Processing, 2017), algorithm 1: from
coarse to fine and from large patches to small ones, replace every patch of the picture by the most similar patch of the
painting, average where patches overlap, and mix the photo back in where it has outlines. The strokes of a sketch are
those of the painting, and its flat areas are clean. The optimization starts from it, and keeps its features.
"""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nst.errors import StyleTransferError
from nst.finish import Palette, picture_tensor
from nst.io.colour import grey, luminance, match_luminance, recolour
from nst.io.sizes import fitted_size
from nst.io.tensors import to_tensor, wrap_border
from nst.palette import transfer_colours
from nst.parts import TOO_SMALL, inside, part_tensor, whole_patches
from nst.pictures import Style, groups_by_mask, mask_tensor, painted_places
from nst.saved_style import SavedPatches, SavedStyle
from nst.settings import StyleSettings

# How much rare colours of the painting count. With 1, hardly anything of the photo would remain on a white sheet; with
# 0.5, rare colours appear in random places.
SKETCH_EXPONENT = 0.7
LONG_SIDE, SHARE = 384, 0.75  # the sketch's long side: at most 384 px, and at most three quarters of the result's
PATCHES = ((13, 9), (21, 13, 9), (33, 21, 13, 9))  # px, at a quarter, at half and at the full size of the sketch
PASSES = 2  # over the picture with patches of one size
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
# The weight of the photo against the patches, at an outline and in a flat area. Both are for the style weight 15.
OUTLINE_WEIGHT, FLAT_WEIGHT, STYLE_WEIGHT = 1.2, 0.1, 15.0
START_NOISE = 0.05  # without it a flat sky would match one flat patch everywhere
PHOTO_SIDE = 128  # px: the size at which the photo's local maps of colours are computed


class Sketch:
    """The sketch of one run, and what the optimization takes from it. All pictures are (1, 3, H, W) in [0, 1].

    picture: the sketch, at most `LONG_SIDE` px on its long side; None until it is made.
    """

    def __init__(
        self,
        settings: StyleSettings,
        photo: Image.Image,
        styles: Sequence[Style],
        palette: Palette | None,
        device: torch.device,
    ):
        """
        palette: of the paintings; None if the photo keeps its colours.

        Raises StyleTransferError for a part of a painting that is too small for patches.
        """
        self.settings, self.photo, self.styles, self.palette, self.device = settings, photo, styles, palette, device
        self.picture: Tensor | None = None
        self._check_parts()
        self._source = picture_tensor(photo, PHOTO_SIDE, device)
        self._target = palette.give_to(self._source) if palette else self._source

    def _check_parts(self) -> None:
        for number, style in enumerate(self.styles, 1):
            if style.part is None:
                continue
            part = part_at(style, self._painting_at(style, sketch_side(self.settings, self.photo.size)))
            if not len(whole_patches(part, PATCHES[-1][-1])):
                name = "the style picture" if len(self.styles) == 1 else f"style picture {number}"
                raise StyleTransferError(f"The part of {name} {TOO_SMALL}")

    def enlarged(self, pixels: Tensor) -> Tensor:
        """Return the sketch at the size of the photo `pixels`.

        Local affine maps of the photo's colours make edges as sharp as the photo's; what they cannot explain are the
        strokes, which are enlarged.
        """
        small = _resized(pixels, self.picture.shape[-2:])
        strokes = self.picture - transfer_colours(small, self.picture, small)
        enlarged = transfer_colours(small, self.picture, pixels) + _resized(strokes, pixels.shape[-2:])
        enlarged = enlarged.clamp(0, 1)
        if self.settings.seamless:
            wrap_border(enlarged)
        return recolour(enlarged, pixels) if self.settings.preserve_colours else enlarged

    @torch.no_grad()
    def make(self) -> Iterator[Tensor]:
        """Make the sketch, and yield it after the passes with each size of patches, at the size that it has then."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        for side, patch_sides in zip(level_sides(self.settings, self.photo.size), PATCHES, strict=True):
            photo, paintings = self._photo_at(side), [self._painting_at(style, side) for style in self.styles]
            parts = [part_at(style, x) for style, x in zip(self.styles, paintings, strict=True)]
            if self.settings.preserve_colours:
                pairs = zip(paintings, parts, strict=True)
                paintings = [match_luminance(painting, photo, inside(part)) for painting, part in pairs]
                photo = grey(photo)
            else:
                photo = transfer_colours(self._source, self._target, photo)
            if self.picture is None:
                noise = torch.randn(photo.shape, generator=generator).to(photo)
                self.picture = (photo + START_NOISE * noise).clamp(0, 1)
            else:
                self.picture = _resized(self.picture, photo.shape[-2:]).clamp(0, 1)
            photo_weight = self._photo_weight(photo)
            smallest = min(min(x.shape[-2:]) for x in (photo, *paintings))  # saved patches have their picture's shape
            for patch_side in patch_sides:
                if patch_side > smallest // 2:
                    continue
                for _ in range(PASSES):
                    self._improve(photo, paintings, parts, patch_side, photo_weight)
                if self.palette:
                    self.picture = self.palette.give_to(self.picture)
                yield self.picture

    def _improve(
        self,
        photo: Tensor,
        paintings: list[Tensor],
        parts: list[Tensor | None],
        patch_side: int,
        photo_weight: Tensor,
    ) -> None:
        """Replace the patches of the picture, and mix the photo in."""
        painted, total = torch.zeros_like(photo), torch.zeros_like(photo[:, :1])
        for group in groups_by_mask(self.styles):
            weights = [self.styles[number].weight for number in group]
            sources = [[pictures[number] for number in group] for pictures in (paintings, parts)]
            patched = replace_patches(self.picture, sources[0], weights, patch_side, sources[1])
            share = sum(weights) * mask_tensor(self.styles[group[0]], photo)
            painted, total = painted + share * patched, total + share
        mixed = (photo_weight * photo + painted / total.clamp_min(1e-6)) / (photo_weight + 1)
        self.picture = torch.lerp(photo, mixed, painted_places(self.styles, photo))
        if self.settings.seamless:
            wrap_border(self.picture)

    def _photo_at(self, side: int) -> Tensor:
        size = fitted_size(self.photo.size, side, self.settings.keep_aspect)
        return to_tensor(self.photo.resize(size, Image.Resampling.LANCZOS)).to(self.device)

    def _painting_at(self, style: Style, side: int) -> Tensor | SavedPatches:
        side = max(1, round(side * self.settings.style_scale))
        if isinstance(style.picture, SavedStyle):
            return style.picture.patches_at(side)
        size = fitted_size(style.picture.size, side, self.settings.keep_aspect)
        return to_tensor(style.picture.resize(size, Image.Resampling.LANCZOS)).to(self.device)

    def _photo_weight(self, photo: Tensor) -> Tensor:
        """Return how much each pixel of the photo counts against the patches' 1, (1, 1, H, W): most at its outlines."""
        light = luminance(photo)
        across = F.pad(light[..., :, 1:] - light[..., :, :-1], (0, 1))
        down = F.pad(light[..., 1:, :] - light[..., :-1, :], (0, 0, 0, 1))
        window = max(3, max(photo.shape[-2:]) // 64) | 1
        steepness = F.avg_pool2d((across.square() + down.square()).sqrt(), window, 1, window // 2)
        outlines = (steepness / torch.quantile(steepness, 0.9).clamp_min(1e-3)).clamp_max(1)
        settings = self.settings
        strength = STYLE_WEIGHT * settings.content_weight / max(settings.style_weight, 1e-6)
        return strength * (FLAT_WEIGHT + OUTLINE_WEIGHT * outlines)


def sketch_side(settings: StyleSettings, photo_size: tuple[int, int]) -> int:
    """Return the long side of the sketch in px. photo_size: (width, height); stages that add detail do not count."""
    painted = max(stage.long_side for stage in settings.stages(photo_size) if not stage.adds_detail)
    return min(LONG_SIDE, round(SHARE * painted))


def level_sides(settings: StyleSettings, photo_size: tuple[int, int]) -> list[int]:
    """Return the long side of each level of the sketch in px, coarse to fine. photo_size: as in `sketch_side`."""
    longest = sketch_side(settings, photo_size)
    return [max(8, longest >> (len(PATCHES) - 1 - level)) for level in range(len(PATCHES))]


def patch_distance(area: float, side: int) -> int:
    """Return the px between two patches of `side` px that are taken from paintings. area: the places for a patch."""
    return max(2, side // 4, math.ceil(math.sqrt(area / MOST_PATCHES)))


def part_at(style: Style, painting: Tensor | SavedPatches) -> Tensor | None:
    """Return the style's part, (1, 1, h, w), at the size of its painting."""
    size = painting.shape[-1], painting.shape[-2]
    return None if style.part is None else part_tensor(style.part, size, painting.device)


def replace_patches(
    picture: Tensor,
    paintings: Sequence[Tensor | SavedPatches],
    weights: Sequence[float],
    side: int,
    parts: Sequence[Tensor | None] | None = None,
) -> Tensor:
    """Return the picture (1, 3, H, W) with every patch of `side` px replaced by the most similar one of the paintings.

    paintings: (1, 3, h, w) each, or the patches of a saved style. weights: of the paintings; a larger one makes its
    patches count as more similar.
    parts: (1, 1, h, w) each: only patches that lie in a painting's part are taken; None is everywhere. Without any such
    patch the picture stays as it is.
    """
    height, width = picture.shape[-2:]
    stride = max(2, side // 4)
    padded = F.pad(picture, (0, -(width - side) % stride, 0, -(height - side) % stride), mode="replicate")
    queries = F.unfold(padded, side, stride=stride)[0].T
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
    compared, of_paintings = _components(_compared(queries, side), _compared(patches, side))
    chosen = patches[_nearest(compared, of_paintings, torch.cat(factors))]
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


def _resized(picture: Tensor, size: Sequence[int]) -> Tensor:
    if picture.shape[-2] > size[0]:
        return F.interpolate(picture, size=tuple(size), mode="area")
    return F.interpolate(picture, size=tuple(size), mode="bicubic", align_corners=False)
