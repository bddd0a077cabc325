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

from nst.finish import Palette, PaletteMap, picture_tensor
from nst.io.colour import grey, luminance, match_luminance, recolour
from nst.io.sizes import fitted_size
from nst.io.tensors import to_tensor
from nst.palette import transfer_colours
from nst.pictures import Style, groups_by_mask, mask_tensor, painted_places
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
        colours: PaletteMap | None = None,
    ):
        """
        palette: of the paintings; None if the photo keeps its colours. colours: from the photo's colours to the
        palette, such as those of a scene; by default a map that is fitted to the photo.
        """
        self.settings, self.photo, self.styles, self.palette, self.device = settings, photo, styles, palette, device
        self.picture: Tensor | None = None
        self._source = picture_tensor(photo, PHOTO_SIDE, device)
        self._target = (colours or palette).give_to(self._source) if palette else self._source

    def enlarged(self, pixels: Tensor) -> Tensor:
        """Return the sketch at the size of the photo `pixels`.

        Local affine maps of the photo's colours make edges as sharp as the photo's; what they cannot explain are the
        strokes, which are enlarged.
        """
        small = _resized(pixels, self.picture.shape[-2:])
        strokes = self.picture - transfer_colours(small, self.picture, small)
        enlarged = transfer_colours(small, self.picture, pixels) + _resized(strokes, pixels.shape[-2:])
        enlarged = enlarged.clamp(0, 1)
        return recolour(enlarged, pixels) if self.settings.preserve_colours else enlarged

    @torch.no_grad()
    def make(self, kept: tuple[Tensor, Tensor] | None = None) -> Iterator[Tensor]:
        """Make the sketch, and yield it after the passes with each size of patches, at the size that it has then.

        kept: a sketch and where it is kept, as in `follow`.
        """
        generator = torch.Generator().manual_seed(self.settings.seed)
        longest = sketch_side(self.settings)
        for level, patch_sides in enumerate(PATCHES):
            side = max(8, longest >> (len(PATCHES) - 1 - level))
            photo, paintings = self._pictures_at(side)
            if self.picture is None:
                noise = torch.randn(photo.shape, generator=generator).to(photo)
                self.picture = (photo + START_NOISE * noise).clamp(0, 1)
            else:
                self.picture = _resized(self.picture, photo.shape[-2:]).clamp(0, 1)
            moved, known = [_resized(x, photo.shape[-2:]).clamp(0, 1) for x in kept] if kept else (None, None)
            photo_weight = self._photo_weight(photo)
            smallest = min(min(x.shape[-2:]) for x in (photo, *paintings))
            for patch_side in patch_sides:
                if patch_side > smallest // 2:
                    continue
                if kept:  # small places need one pass, and have the colours of the patches, which are the palette's
                    self.picture = torch.lerp(self.picture, moved, known)
                    self._improve(photo, paintings, patch_side, photo_weight, known)
                    self.picture = torch.lerp(self.picture, moved, known)
                else:
                    for _ in range(PASSES):
                        self._improve(photo, paintings, patch_side, photo_weight)
                    if self.palette:
                        self.picture = self.palette.give_to(self.picture)
                yield self.picture

    def follow(self, moved: Tensor, known: Tensor) -> None:
        """Make the sketch of a frame of a video: where `known` is 1 it is `moved`, and elsewhere it is made anew.

        moved: the sketch of the frame before, moved along the flow, (1, 3, h, w). known: (1, 1, h, w), 1 where that
        frame showed what is seen now.
        """
        if known.min() == 1:
            self.picture = moved
            return
        for _ in self.make(kept=(moved, known)):
            pass

    def _pictures_at(self, side: int) -> tuple[Tensor, list[Tensor]]:
        """Return the photo and the paintings as they are compared, with a long side of `side` px."""
        photo, paintings = self._photo_at(side), [self._painting_at(style, side) for style in self.styles]
        if self.settings.preserve_colours:
            return grey(photo), [match_luminance(painting, photo) for painting in paintings]
        return transfer_colours(self._source, self._target, photo), paintings

    def _improve(
        self, photo: Tensor, paintings: list[Tensor], patch_side: int, photo_weight: Tensor, known: Tensor | None = None
    ) -> None:
        """Replace the patches of the picture, those that are not known at least, and mix the photo in."""
        painted, total = torch.zeros_like(photo), torch.zeros_like(photo[:, :1])
        for group in groups_by_mask(self.styles):
            weights = [self.styles[number].weight for number in group]
            patched = replace_patches(self.picture, [paintings[number] for number in group], weights, patch_side, known)
            share = sum(weights) * mask_tensor(self.styles[group[0]], photo)
            painted, total = painted + share * patched, total + share
        mixed = (photo_weight * photo + painted / total.clamp_min(1e-6)) / (photo_weight + 1)
        self.picture = torch.lerp(photo, mixed, painted_places(self.styles, photo))

    def _photo_at(self, side: int) -> Tensor:
        size = fitted_size(self.photo.size, side, self.settings.keep_aspect)
        return to_tensor(self.photo.resize(size, Image.Resampling.LANCZOS)).to(self.device)

    def _painting_at(self, style: Style, side: int) -> Tensor:
        side = max(1, round(side * self.settings.style_scale))
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


def sketch_side(settings: StyleSettings) -> int:
    """Return the long side of the sketch in px."""
    return min(LONG_SIDE, round(SHARE * settings.size))


def replace_patches(
    picture: Tensor, paintings: Sequence[Tensor], weights: Sequence[float], side: int, known: Tensor | None = None
) -> Tensor:
    """Return the picture (1, 3, H, W) with every patch of `side` px replaced by the most similar one of the paintings.

    paintings: (1, 3, h, w) each. weights: of the paintings; a larger one makes its patches count as more similar.
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
    for painting, weight in zip(paintings, weights, strict=True):
        area = (painting.shape[-2] - side + 1) * (painting.shape[-1] - side + 1)
        distance = max(stride, math.ceil(math.sqrt(area * len(paintings) / MOST_PATCHES)))
        patches.append(F.unfold(painting, side, stride=distance)[0].T)
        factors.append(torch.full((len(patches[-1]),), max(weights) / weight, device=picture.device))
    patches = torch.cat(patches)
    replaced = queries if known is None else queries[hidden]
    compared, of_paintings = _components(_compared(replaced, side), _compared(patches, side))
    chosen = patches[_nearest(compared, of_paintings, torch.cat(factors))]
    if known is not None:
        chosen = queries.masked_scatter(hidden[:, None], chosen)
    return _assemble(chosen, padded, side, stride)[..., :height, :width]


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
