"""The sketch: the photo put together from patches of the paintings, small and without a network.

Elad & Milanfar, "Style Transfer Via Texture Synthesis" (IEEE Transactions on Image Processing, 2017), algorithm 1: from
coarse to fine and from large patches to small ones, replace every patch of the picture by the most similar patch of the
painting, average where patches overlap, and mix the photo back in where it has outlines. The strokes of a sketch are
those of the painting, and its flat areas are clean. The optimization starts from it, and keeps its features.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nst.errors import StyleTransferError
from nst.finish import Palette, PaletteMap, picture_tensor
from nst.io.colour import grey, luminance, match_luminance, recolour
from nst.io.sizes import fitted_size
from nst.io.tensors import to_tensor, wrap_border
from nst.palette import transfer_colours
from nst.parts import TOO_SMALL, inside, part_tensor, whole_patches
from nst.patches import replace_patches
from nst.pictures import Style, groups_by_mask, mask_tensor, painted_places
from nst.saved_style import SavedPatches, SavedStyle
from nst.settings import StyleSettings

# How much rare colours of the painting count. With 1, hardly anything of the photo would remain on a white sheet; with
# 0.5, rare colours appear in random places.
SKETCH_EXPONENT = 0.7
LONG_SIDE, SHARE = 384, 0.75  # the sketch's long side: at most 384 px, and at most three quarters of the result's
PATCHES = ((13, 9), (21, 13, 9), (33, 21, 13, 9))  # px, at a quarter, at half and at the full size of the sketch
PASSES = 2  # over the picture with patches of one size
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

        Raises StyleTransferError for a part of a painting that is too small for patches.
        """
        self.settings, self.photo, self.styles, self.palette, self.device = settings, photo, styles, palette, device
        self.picture: Tensor | None = None
        self._check_parts()
        self._source = picture_tensor(photo, PHOTO_SIDE, device)
        self._target = (colours or palette).give_to(self._source) if palette else self._source

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
    def make(self, kept: tuple[Tensor, Tensor] | None = None) -> Iterator[Tensor]:
        """Make the sketch, and yield it after the passes with each size of patches, at the size that it has then.

        kept: a sketch and where it is kept, as in `follow`.
        """
        generator = torch.Generator().manual_seed(self.settings.seed)
        for side, patch_sides in zip(level_sides(self.settings, self.photo.size), PATCHES, strict=True):
            photo, paintings, parts = self._pictures_at(side)
            if self.picture is None:
                noise = torch.randn(photo.shape, generator=generator).to(photo)
                self.picture = (photo + START_NOISE * noise).clamp(0, 1)
            else:
                self.picture = _resized(self.picture, photo.shape[-2:]).clamp(0, 1)
            moved, known = [_resized(x, photo.shape[-2:]).clamp(0, 1) for x in kept] if kept else (None, None)
            photo_weight = self._photo_weight(photo)
            smallest = min(min(x.shape[-2:]) for x in (photo, *paintings))  # saved patches have their picture's shape
            for patch_side in patch_sides:
                if patch_side > smallest // 2:
                    continue
                if kept:  # small places need one pass, and have the colours of the patches, which are the palette's
                    self.picture = torch.lerp(self.picture, moved, known)
                    self._improve(photo, paintings, parts, patch_side, photo_weight, known)
                    self.picture = torch.lerp(self.picture, moved, known)
                else:
                    for _ in range(PASSES):
                        self._improve(photo, paintings, parts, patch_side, photo_weight)
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

    def _pictures_at(self, side: int) -> tuple[Tensor, list[Tensor | SavedPatches], list[Tensor | None]]:
        """Return the photo and the paintings as they are compared, with a long side of `side` px, and their parts."""
        photo, paintings = self._photo_at(side), [self._painting_at(style, side) for style in self.styles]
        parts = [part_at(style, x) for style, x in zip(self.styles, paintings, strict=True)]
        if self.settings.preserve_colours:
            pairs = zip(paintings, parts, strict=True)
            paintings = [match_luminance(painting, photo, inside(part)) for painting, part in pairs]
            return grey(photo), paintings, parts
        return transfer_colours(self._source, self._target, photo), paintings, parts

    def _improve(
        self,
        photo: Tensor,
        paintings: list[Tensor],
        parts: list[Tensor | None],
        patch_side: int,
        photo_weight: Tensor,
        known: Tensor | None = None,
    ) -> None:
        """Replace the patches of the picture, those that are not known at least, and mix the photo in."""
        painted, total = torch.zeros_like(photo), torch.zeros_like(photo[:, :1])
        for group in groups_by_mask(self.styles):
            weights = [self.styles[number].weight for number in group]
            sources = [[pictures[number] for number in group] for pictures in (paintings, parts)]
            patched = replace_patches(self.picture, sources[0], weights, patch_side, sources[1], known)
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


def part_at(style: Style, painting: Tensor | SavedPatches) -> Tensor | None:
    """Return the style's part, (1, 1, h, w), at the size of its painting."""
    size = painting.shape[-1], painting.shape[-2]
    return None if style.part is None else part_tensor(style.part, size, painting.device)


def _resized(picture: Tensor, size: Sequence[int]) -> Tensor:
    if picture.shape[-2] > size[0]:
        return F.interpolate(picture, size=tuple(size), mode="area")
    return F.interpolate(picture, size=tuple(size), mode="bicubic", align_corners=False)
