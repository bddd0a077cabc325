"""What the losses compare a picture with: features of the photo, statistics of the paintings, outlines of the photo."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.engine.target_cache import TARGETS, digest
from nst.engine.tiling import Tile, cut_into_tiles
from nst.io.colour import grey, match_luminance
from nst.layers import LAYERS, layer_stride
from nst.losses import SMALLEST_SCALE, STATISTICS, broad_areas, image_pyramid, laplacian
from nst.models.vgg import Vgg19
from nst.parts import inside
from nst.settings import StyleSettings

OUTLINE_POOLS = (8, 16)  # px averaged on each side. 4 would also suppress strokes, 32 would let objects move

# The features of a larger photo are not stored: at 8192 x 5461 px they would take 8.6 GB in bf16.
STORED_PIXELS = 4096 * 4096
VALUES_AT_ONCE = 1 << 28  # whose variance is computed in one go: the float32 copy of more would be the peak of a run

Key = tuple[int, str]  # a level of the image pyramid and a layer


class StyleInput(NamedTuple):
    """A style at the size of one stage.

    picture: (1, 3, h, w); of a saved style, its colours. mask: (1, 1, H, W) in [0, 1], 1 where it is painted; None is
    everywhere. part: (1, 1, h, w) in [0, 1], 1 where the style is taken from; None is everywhere.
    statistics: of a saved style, which has no picture to compute them from.
    """

    picture: Tensor
    weight: float
    mask: Tensor | None = None
    part: Tensor | None = None
    statistics: dict[Key, Tensor] | None = None


def compared_layers(settings: StyleSettings) -> tuple[str, ...]:
    """Return the layers that the losses look at, from shallow to deep."""
    compared = {*settings.content_layers, *settings.style_layers}
    return tuple(layer for layer in LAYERS if layer in compared)


@dataclass
class StyleTarget:
    """The target of one style.

    statistics: by level and layer. scales: the divisor of the loss at each statistic, 1 by default. weight: of the loss
    at each statistic; it is the style's share divided by the number of its statistics.
    mask: (1, 1, H, W) in [0, 1], 1 where the style is painted; None is everywhere.
    """

    statistics: dict[Key, Tensor]
    scales: dict[Key, Tensor]
    weight: float
    mask: Tensor | None = None
    resized_masks: dict[tuple[int, int], Tensor] = field(default_factory=dict)  # by (height, width)

    def mask_at(self, size: tuple[int, int]) -> Tensor:
        """Return the mask at a feature map's (height, width)."""
        if size not in self.resized_masks:
            self.resized_masks[size] = F.interpolate(self.mask, size=size, mode="area")
        return self.resized_masks[size]


@dataclass
class Targets:
    """The targets of one stage.

    content: the photo's features by layer, whole or by tile. content_scales: what the content loss at each layer is
    divided by.
    outlines: the photo's Laplacians by pool, in px; empty where the outlines do not count.
    layout: with a sketch, the means of its broad areas, (1, 3, h, w).
    """

    content: "StoredFeatures | FeaturesByTile"
    content_scales: dict[str, Tensor | float]
    outlines: dict[int, Tensor]
    layout: Tensor | None
    styles: list[StyleTarget]


@dataclass
class StoredFeatures:
    """The photo's features by layer, (1, C, h, w)."""

    features: dict[str, Tensor]

    def of_tile(self, tile: Tile) -> dict[str, Tensor]:
        """Return the features of the inner part of a tile."""
        return {layer: x[(..., *tile.inner_of_picture_map(layer))] for layer, x in self.features.items()}

    def counts(self) -> dict[str, int]:
        """Return the number of values of each layer."""
        return {layer: x.numel() for layer, x in self.features.items()}

    def variances(self) -> dict[str, Tensor]:
        """Return the variance of each layer's values, a scalar."""
        return {layer: _variance(x) for layer, x in self.features.items()}


@dataclass
class FeaturesByTile:
    """The same for a photo that is too large: the features of a tile are computed each time they are needed.

    They are those of the whole photo, because a tile's margin covers all that its inner part sees.
    """

    extractor: Vgg19
    photo: Tensor
    layers: tuple[str, ...]
    tiles: list[Tile]

    @torch.no_grad()
    def of_tile(self, tile: Tile) -> dict[str, Tensor]:
        """Return the features of the inner part of a tile."""
        features = self.extractor.iterate_features(self.photo[(..., *tile.outer)], self.layers)
        return {layer: tile.crop(x, layer) for layer, x in features}

    def counts(self) -> dict[str, int]:
        """Return the number of values of each layer."""
        height, width = self.photo.shape[-2:]
        channels = {layer: self.extractor.convolutions[layer].out_channels for layer in self.layers}
        return {x: channels[x] * (height // layer_stride(x)) * (width // layer_stride(x)) for x in self.layers}

    def variances(self) -> dict[str, Tensor]:
        """Return the variance of each layer's values, a scalar."""
        sums = {layer: torch.zeros(2, dtype=torch.double, device=self.photo.device) for layer in self.layers}
        for tile in self.tiles:
            for layer, x in self.of_tile(tile).items():
                sums[layer] += _sums(x)
        counts = self.counts()
        return {layer: _variance_of_sums(pair, counts[layer]) for layer, pair in sums.items()}


def _variance(values: Tensor) -> Tensor:
    """Return the variance of all values of a map (1, C, h, w), a scalar."""
    if values.numel() <= VALUES_AT_ONCE:
        return values.float().var()
    return _variance_of_sums(sum(map(_sums, values.split(16, dim=2))), values.numel())


def _sums(values: Tensor) -> Tensor:
    """Return the sum of all values and the sum of their squares, (2) in double precision."""
    values = values.double()
    return torch.stack([values.sum(), values.square().sum()])


def _variance_of_sums(sums: Tensor, count: int) -> Tensor:
    total, squares = sums
    return ((squares - total.square() / count) / (count - 1)).float()


class TargetBuilder:
    """A builder of the targets of a stage. It computes them in tiles of `tile_side` px, or takes them from `TARGETS`.

    cache_key: names the extractor's weights, precision and pooling. Without it nothing is cached.
    """

    def __init__(self, extractor: Vgg19, settings: StyleSettings, tile_side: int, cache_key: str | None = None):
        self.extractor, self.settings, self.tile_side, self.cache_key = extractor, settings, tile_side, cache_key
        self.statistic = STATISTICS[settings.style_statistic]
        self.layers = compared_layers(settings)

    @torch.no_grad()
    def build(self, content: Tensor, styles: Sequence[StyleInput]) -> Targets:
        """Return the targets for a photo or sketch (1, 3, H, W) in [0, 1] and the styles to paint it in."""
        settings = self.settings
        styles = [StyleInput(*style) for style in styles]
        if settings.preserve_colours:  # both are compared in grey
            styles = [
                style._replace(picture=match_luminance(style.picture, content, inside(style.part)))
                for style in styles
            ]
            content = grey(content)
        features = self._content_features(content)
        scales = dict.fromkeys(settings.content_layers, 1.0)
        if settings.relative_losses:
            scales = {layer: variance.clamp_min(SMALLEST_SCALE) for layer, variance in features.variances().items()}
        outlines = {pool: laplacian(content, pool) for pool in OUTLINE_POOLS if settings.laplacian_weight}
        layout = broad_areas(content) if settings.sketch else None
        return Targets(features, scales, outlines, layout, self._style_targets(content, styles))

    def _content_features(self, content: Tensor) -> "StoredFeatures | FeaturesByTile":
        layers = self.settings.content_layers
        if content.shape[-2] * content.shape[-1] > STORED_PIXELS:
            tiles = cut_into_tiles(*content.shape[-2:], self.tile_side, self.layers)
            return FeaturesByTile(self.extractor, content, layers, tiles)
        return StoredFeatures(self._cached("content", content, layers, self._features_of))

    def _style_targets(self, content: Tensor, styles: Sequence[StyleInput]) -> list[StyleTarget]:
        settings, scale = self.settings, self.statistic.scale
        levels = len(image_pyramid(content, settings.style_levels))  # a large painting may have more
        details = (settings.style_layers, settings.style_levels)
        photo_statistics: dict[Key, Tensor] = {}
        if settings.relative_losses:
            photo_statistics = self._cached("style", content, details, self._statistics_of)
        total_weight = sum(style.weight for style in styles)
        targets = []
        for picture, weight, mask, part, statistics in styles:
            statistics = statistics or self._cached("style", picture, details, self._statistics_of, part)
            statistics = {key: statistic for key, statistic in statistics.items() if key[0] < levels}
            # The larger of the two scales is used. With its own scale alone, the little contrast of a pale painting
            # would outweigh all that is to be kept of the photo.
            common = statistics.keys() & photo_statistics.keys()
            scales = {key: torch.maximum(scale(statistics[key]), scale(photo_statistics[key])) for key in common}
            targets.append(StyleTarget(statistics, scales, weight / total_weight / len(statistics), mask))
        return targets

    @torch.no_grad()
    def style_statistics(self, picture: Tensor) -> dict[Key, Tensor]:
        """Return what a style's target holds of the painting `picture`, (1, 3, h, w): see `StyleTarget`."""
        return self._statistics_of(picture)

    def _cached(
        self, kind: str, picture: Tensor, details: tuple, build: Callable[..., dict], part: Tensor | None = None
    ) -> dict:
        """Return `build` of the picture, and of its part if it has one; from the cache if it was built before."""
        pictures = [picture] if part is None else [picture, part]
        if self.cache_key is None:
            return build(*pictures)
        key = (kind, self.cache_key, self.statistic, *map(digest, pictures), details, self.tile_side)
        return TARGETS.get(key, lambda: build(*pictures))

    def _features_of(self, content: Tensor) -> dict[str, Tensor]:
        """Return the features of the content layers, assembled from tiles."""
        targets: dict[str, Tensor] = {}
        for tile, layer, features in self._features_by_tile(content, self.settings.content_layers):
            if tile.is_whole:
                targets[layer] = features
                continue
            if layer not in targets:
                size = (1, features.shape[1], *(side // layer_stride(layer) for side in tile.size))
                targets[layer] = torch.empty(
                    size, dtype=features.dtype, device=features.device, memory_format=torch.channels_last
                )
            targets[layer][(..., *tile.inner_of_picture_map(layer))] = features
        return targets

    def _statistics_of(self, picture: Tensor, part: Tensor | None = None) -> dict[Key, Tensor]:
        """Return the statistics of the style layers at each level of the pyramid of a picture, or of a part of it."""
        statistics = {}
        for level, image in enumerate(image_pyramid(picture, self.settings.style_levels)):
            sums: dict[str, tuple[Tensor, ...]] = {}
            for tile, layer, features in self._features_by_tile(image, self.settings.style_layers):
                weights = None
                if part is not None:
                    map_size = tuple(side // layer_stride(layer) for side in tile.size)
                    weights = F.interpolate(part, size=map_size, mode="area")
                    weights = weights[(..., *tile.inner_of_picture_map(layer))]
                more = self.statistic.accumulate(features, weights)
                sums[layer] = tuple(map(torch.add, sums[layer], more)) if layer in sums else more
            statistics |= {(level, layer): self.statistic.finish(*parts) for layer, parts in sums.items()}
        return statistics

    def _features_by_tile(self, image: Tensor, layers: Sequence[str]) -> Iterator[tuple[Tile, str, Tensor]]:
        """Yield each tile, each layer, and the features of the tile's inner part."""
        for tile in cut_into_tiles(*image.shape[-2:], self.tile_side, self.layers):
            for layer, features in self.extractor.iterate_features(image[(..., *tile.outer)], layers):
                yield tile, layer, tile.crop(features, layer)
