"""What a picture is judged by while it is painted: losses and their gradient at the pixels.

The loop knows one call, `evaluate(pixels) -> (losses, gradient)`. A picture too large to be held with all its features
is looked at in tiles, twice: once to sum what the losses compare, once to carry their gradient back. The sums are those
of the whole picture, so tiling changes nothing but time and memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.engine.cuda_network import Own
from nst.engine.hardware import Hardware
from nst.engine.target_cache import TARGETS, digest
from nst.engine.tiling import Tile, cut, side_of_tiles
from nst.io.colour import grey, grey_gradient, with_luminance_of
from nst.layers import LAYERS
from nst.losses import (
    STATISTICS,
    at_least_tiny,
    compare,
    laplacian,
    laplacian_loss,
    moments_gradient,
    squared_difference,
    total_variation,
)
from nst.models.checkpoints import Backbone
from nst.models.vgg import Vgg19
from nst.settings import StyleSettings

OUTLINES = (8, 16)  # px a mean: they keep where things are. Of 4 they would keep strokes away, of 32 let things move
SMALLEST_LEVEL = 16  # px on the short side: a smaller level of the pyramid holds too few positions to count
UNTILED_BYTES = 6_500_000  # pixels times bytes a feature: what is held whole in less than six gigabytes
UNTILED_GPU_BYTES = 12e9  # a GPU with so much memory holds as much whole, and a larger one more


class Losses(NamedTuple):
    """Scalars: tensors, or what was read from them. The total is the sum of the others times their weights."""

    content: Tensor
    laplacian: Tensor
    style: Tensor
    tv: Tensor
    total: Tensor


def untiled_bytes(device: torch.device) -> float:
    """Pixels times bytes a feature up to which a picture is looked at as a whole."""
    if device.type != "cuda":
        return UNTILED_BYTES
    return UNTILED_BYTES * max(1.0, torch.cuda.get_device_properties(device).total_memory / UNTILED_GPU_BYTES)


def build_extractor(backbone: Backbone, settings: StyleSettings, hardware: Hardware) -> Vgg19:
    """The extractor that a run with these settings looks through."""
    return backbone.extractor(
        (*settings.content_layers, *settings.style_layers),
        pooling=None if settings.pooling == "backbone" else settings.pooling,
        device=hardware.device,
        dtype=hardware.dtype,
        memory_format=hardware.memory_format,
    )


Sums = tuple[Tensor, ...]  # of a style statistic, over positions
StyleSums = dict[int | None, Sums]  # by style's number; None: all without a mask
Statistics = dict[tuple[int, str], Tensor]  # by level of the image pyramid and layer


@dataclass
class StyleTarget:
    """One style to paint in: its statistics, what the loss at each is divided by (else 1), its share, and a mask.

    The mask is (1, 1, H, W) in [0, 1], where the style goes, or None for everywhere.
    """

    statistics: Statistics
    scales: dict[tuple[int, str], Tensor]
    weight: float
    mask: Tensor | None = None
    weights: dict[tuple[int, str], Tensor] = field(default_factory=dict)  # the mask at the sizes of the feature maps

    def mask_at(self, level: int, layer: str, size: Sequence[int]) -> Tensor:
        """The mask at a feature map's (height, width)."""
        if (level, layer) not in self.weights:
            self.weights[level, layer] = F.interpolate(self.mask, size=tuple(size), mode="area")
        return self.weights[level, layer]


@dataclass
class Look:
    """One tile seen through the network: its features, and what the losses need of them.

    The sums are functions of `leaves`, the features of the tile's inner part cut off from the network: so the losses'
    gradient can wait for all tiles.
    """

    tile: Tile
    pixels: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    leaves: dict[str, Tensor] = field(default_factory=dict)
    sums: dict[tuple[int | None, str], Sums] = field(default_factory=dict)  # by style (None: all unmasked) and layer
    squares: dict[str, Tensor] = field(default_factory=dict)  # of the difference to the content, by content layer
    found: dict[str, tuple[Tensor, dict]] = field(default_factory=dict)  # what `Objective._style` says of a style layer


class Objective:
    """Content, style and total variation of a picture, against targets that are computed once."""

    def __init__(
        self,
        extractor: Vgg19,
        settings: StyleSettings,
        content: Tensor,
        styles: Sequence[tuple[Tensor, float, Tensor | None]],
        tile_side: int | None = None,
        known_as: str | None = None,
    ):
        """
        content: (1, 3, H, W) in [0, 1], at the size to be painted.
        styles: (picture, weight, mask) each; the picture (1, 3, h, w), the mask (1, 1, H, W) or None. A style's share
        is its weight over the sum of the weights.
        tile_side: px; by default only pictures too large to be held whole are tiled.
        known_as: names the extractor's weights, precision and pooling. With it, targets are taken from `TARGETS` where
        an earlier objective has made them.
        """
        self.extractor, self.settings, self.known_as = extractor, settings, known_as
        self.statistic = STATISTICS[settings.style_statistic]
        if tile_side is None:
            itemsize = extractor.convolutions["conv1_1"].weight.dtype.itemsize
            large = content.shape[-1] * content.shape[-2] * itemsize > untiled_bytes(content.device)
            tile_side = side_of_tiles(extractor.required_layers) if large else max(content.shape[-2:])
        self.tile_side = tile_side
        if settings.preserve_colours:
            styles = [(with_luminance_of(picture, content), weight, mask) for picture, weight, mask in styles]
            content = grey(content)
        self.style_targets: list[StyleTarget] = []
        self.content_targets: dict[str, Tensor] = {}
        total = sum(weight for _, weight, _ in styles)
        with torch.no_grad():
            self.outlines = {pool: laplacian(content, pool) for pool in OUTLINES if settings.laplacian_weight}
            self.content_targets = self._kept("content", content, settings.content_layers, self._content_targets)
            self.content_scales = {
                layer: at_least_tiny(target.float().var()) if settings.relative_losses else 1.0
                for layer, target in self.content_targets.items()
            }
            seen = (settings.style_layers, settings.style_levels)
            photo = self._kept("style", content, seen, self._statistics_of) if settings.relative_losses else {}
            least = {key: self.statistic.scale(x) for key, x in photo.items()}
            for picture, weight, mask in styles:
                statistics = self._kept("style", picture, seen, self._statistics_of)
                # Over the photo's scale where the painting's is smaller: what little there is of a pale painting must
                # not outweigh everything that is to be kept of the photo.
                shared = statistics.keys() & least.keys()
                scales = {key: torch.maximum(self.statistic.scale(statistics[key]), least[key]) for key in shared}
                self.style_targets.append(StyleTarget(statistics, scales, weight / total, mask))

    def evaluate(self, pixels: Tensor) -> tuple[Losses, Tensor]:
        """Losses and the gradient of the total at `pixels`, (1, 3, H, W) in [0, 1]."""
        settings = self.settings
        if settings.preserve_colours:
            pixels = grey(pixels.detach())
        levels = self._pyramid(pixels.detach())
        content, style = torch.zeros((), device=pixels.device), torch.zeros((), device=pixels.device)
        gradients = []
        for level in range(len(levels)):  # one after the other: only one level's features are held at a time
            content_here, style_here, gradient = self._level(levels[level], level, len(levels))
            content, style = content + content_here, style + style_here
            gradients.append(gradient)
        if by_hand := self.extractor.by_hand:
            tv, gradient = by_hand.kernels.total_variation(pixels.detach().contiguous(), settings.tv_weight)
        else:
            tv, gradient = _value_and_gradient(total_variation, pixels.detach())
            gradient = settings.tv_weight * gradient
        outlines = torch.zeros((), device=pixels.device)
        if self.outlines:
            outlines, at_pixels = _value_and_gradient(lambda x: laplacian_loss(x, self.outlines), pixels.detach())
            gradient += settings.laplacian_weight * at_pixels
        coarser = gradients.pop()
        while gradients:
            coarser = gradients.pop() + _unpooled(coarser, levels[len(gradients)].shape[-2:])
        gradient += coarser
        if settings.preserve_colours:
            gradient = grey_gradient(gradient)
        losses = (content, outlines, style, tv)
        weights = (settings.content_weight, settings.laplacian_weight, settings.style_weight, settings.tv_weight)
        total = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
        return Losses(*losses, total), gradient

    def _level(self, image: Tensor, level: int, levels: int) -> tuple[Tensor, Tensor, Tensor]:
        """Content and style loss of one of the pyramid's levels, and the gradient of their part of the total at it."""
        tiles = self._tiles(image)
        of_layer = lambda layer, sums: self._style(layer, sums, level, levels)  # noqa: E731
        held = self._look(image, tiles[0], level, True, of_layer) if len(tiles) == 1 else None
        sums: dict[str, StyleSums] = {layer: {} for layer in self.settings.style_layers}
        squares = dict.fromkeys(self.content_targets if level == 0 else (), 0.0)
        for tile in tiles:
            look = held or self._look(image, tile, level, False)
            for (style, layer), part in look.sums.items():
                sums[layer][style] = _added(sums[layer].get(style), _detached(part))
            squares |= {layer: squares[layer] + x.detach() for layer, x in look.squares.items()}

        found = held.found if held else {layer: of_layer(layer, part) for layer, part in sums.items()}
        loss = sum(loss for loss, _ in found.values())
        from_style = {(style, layer): part for layer, (_, parts) in found.items() for style, part in parts.items()}
        content, from_content = torch.zeros((), device=image.device), {}
        for layer, square in squares.items():
            target = self.content_targets[layer]
            divisor = target.numel() * self.content_scales[layer] * len(squares)
            content = content + square / divisor
            from_content[layer] = self.settings.content_weight / divisor

        if held:
            return content, loss, self._back(held, from_style, from_content)
        gradient = torch.zeros_like(image)
        for tile in tiles:
            look = self._look(image, tile, level, True)
            rows, columns = tile.outer
            gradient[..., rows, columns] += self._back(look, from_style, from_content)
        return content, loss, gradient

    def _pyramid(self, pixels: Tensor) -> list[Tensor]:
        """The picture, its half size, and so on (Snelgrove 2017)."""
        levels = [pixels]
        while len(levels) < self.settings.style_levels and min(levels[-1].shape[-2:]) >= 2 * SMALLEST_LEVEL:
            levels.append(F.avg_pool2d(levels[-1], 2))
        return levels

    def _tiles(self, image: Tensor) -> list[Tile]:
        return cut(*image.shape[-2:], self.tile_side, self.extractor.required_layers)

    def _look(
        self, image: Tensor, tile: Tile, level: int, differentiable: bool, of_layer: Callable | None = None
    ) -> Look:
        """of_layer: `_style` at this level, if the tile is the whole picture: a GPU does it beside the next layers."""
        layers = self.extractor.required_layers if level == 0 else self.settings.style_layers
        whole = tile.inner == tile.outer
        pixels = (image if whole else image[(..., *tile.outer)]).detach().requires_grad_(differentiable)
        look = Look(tile, pixels)

        def seen(layer: str, features: Tensor) -> None:
            if layer not in layers:
                return
            inner = features if whole else features[(..., *tile.of_own_map(layer))]
            look.leaves[layer] = leaf = inner.detach().requires_grad_(differentiable)
            with torch.set_grad_enabled(differentiable):
                if layer in self.settings.style_layers:
                    sums = self._sums(leaf, layer, level, tile)
                    look.sums |= {(style, layer): part for style, part in sums.items()}
                    if of_layer:
                        look.found[layer] = of_layer(layer, {style: _detached(part) for style, part in sums.items()})
                if level == 0 and layer in self.content_targets:
                    content = self.content_targets[layer]
                    look.squares[layer] = squared_difference(leaf, content[(..., *tile.of_map(layer))])

        if self.extractor.by_hand:
            look.features = self.extractor.by_hand.features(pixels, max(layers, key=LAYERS.index), seen)
        else:
            with torch.set_grad_enabled(differentiable):
                look.features = self.extractor.extract_features(pixels, layers)
            for layer, features in look.features.items():
                seen(layer, features)
        return look

    def _sums(self, features: Tensor, layer: str, level: int, tile: Tile) -> StyleSums:
        """A style layer's sums over a tile's inner part; all styles without a mask share one."""
        sums: StyleSums = {}
        for number, target in enumerate(self.style_targets):
            if target.mask is not None:
                map_size = [side // 2 ** (int(layer[4]) - 1) for side in tile.size]
                weights = target.mask_at(level, layer, map_size)[(..., *tile.of_map(layer))]
                sums[number] = self.statistic.accumulate(features, weights)
            elif None not in sums:
                sums[None] = self.statistic.accumulate(features)
        return sums

    def _back(self, look: Look, from_style: dict, from_content: dict) -> Tensor:
        """The gradient at a tile's pixels, given the losses' gradients at the sums over all tiles."""
        wanted: dict[str, list[tuple[Tensor, Tensor]]] = {}  # by layer: what depends on it, and the gradient there
        for (style, layer), sums in look.sums.items():
            pairs = zip(sums, from_style[style, layer], strict=True)
            wanted.setdefault(layer, []).extend((x, g) for x, g in pairs if x.requires_grad and g is not None)
        for layer, squares in look.squares.items():
            wanted.setdefault(layer, []).append((squares, torch.ones_like(squares) * from_content[layer]))
        layers = sorted((layer for layer, pairs in wanted.items() if pairs), key=LAYERS.index)
        if not layers:  # a level that the style picture was too small for
            return torch.zeros_like(look.pixels)

        tile, features, leaves = look.tile, look.features, look.leaves

        def at_features(layer: str, size: Sequence[int], deeper: Tensor | None = None) -> Tensor:
            """The losses' own at a map of that size, and what deeper layers give."""
            outputs, gradients = zip(*wanted.pop(layer), strict=True)
            own = torch.autograd.grad(outputs, leaves.pop(layer), gradients)[0]
            if own.shape == size:
                return own if deeper is None else own.add_(deeper)
            gradient = own.new_zeros(size) if deeper is None else deeper.clone()
            gradient[(..., *tile.of_own_map(layer))] += own
            return gradient

        if self.extractor.by_hand:
            sizes = {layer: features[layer].shape for layer in layers}
            matrices = {layer: self._as_matrix(look, layer, from_style) for layer in layers}
            own = {layer: matrices[layer] or Own(at_features(layer, sizes[layer])) for layer in layers}
            return self.extractor.by_hand.gradient(features, own)

        *others, deepest = layers
        for layer in others:  # found when the deeper layers' gradient arrives: none is held until then
            # The map is not needed any more then, and the largest ones come last.
            features[layer].register_hook(lambda g, layer=layer: at_features(layer, features.pop(layer).shape, g))
        last = features.pop(deepest)
        gradient = torch.autograd.grad(last, look.pixels, at_features(deepest, last.shape))[0]
        features.clear()  # a layer that nothing depended on is known to the hooks too
        return gradient

    def _as_matrix(self, look: Look, layer: str, from_style: dict) -> Own | None:
        """The losses' own gradient at a whole map as a matrix for its rows, where it is that and no more."""
        masked = any(name == layer and style is not None for style, name in look.sums)
        if masked or layer in look.squares or look.tile.inner != look.tile.outer:
            return None
        *at_moments, _ = from_style[None, layer]  # the last is at the count
        matrix, sums = moments_gradient(look.features[layer].dtype, *at_moments)
        return Own(None, matrix[0], None if sums is None else sums.flatten())

    def _style(self, layer: str, sums: StyleSums, level: int, levels: int) -> tuple[Tensor, dict[int | None, tuple]]:
        """A layer's share of a level's style loss, given its sums over positions, and the total's gradient at each."""
        sums = {style: tuple(x.requires_grad_() for x in part) for style, part in sums.items()}
        with torch.enable_grad():
            statistics = {style: self.statistic.finish(*part) for style, part in sums.items()}
            loss = torch.zeros((), device=next(iter(statistics.values())).device)
            for number, target in enumerate(self.style_targets):
                style = None if target.mask is None else number
                shared = sum(key[0] < levels for key in target.statistics)  # a small style has fewer levels
                if (key := (level, layer)) in target.statistics:
                    part = compare(statistics[style], target.statistics[key], target.scales.get(key, 1.0))
                    loss = loss + part * (target.weight / shared)
            if not loss.requires_grad:
                return loss, {style: (None,) * len(part) for style, part in sums.items()}
            inputs = [x for part in sums.values() for x in part]
            found = iter(torch.autograd.grad(self.settings.style_weight * loss, inputs, allow_unused=True))
        return loss.detach(), {style: tuple(next(found) for _ in part) for style, part in sums.items()}

    def _kept(self, kind: str, picture: Tensor, seen: tuple, build: Callable[[Tensor], dict]) -> dict:
        """`build(picture)`, or what it gave before for the same picture seen in the same way."""
        if self.known_as is None:
            return build(picture)
        key = (kind, self.known_as, self.statistic, digest(picture), seen, self.tile_side)
        return TARGETS.get(key, lambda: build(picture))

    def _content_targets(self, content: Tensor) -> dict[str, Tensor]:
        """The content layers' features, put together from tiles."""
        targets = {}
        for tile in self._tiles(content):
            features = self.extractor.extract_features(content[(..., *tile.outer)], self.settings.content_layers)
            if tile.inner == tile.outer:
                return features
            for layer, x in features.items():
                if layer not in targets:
                    stride = 2 ** (int(layer[4]) - 1)
                    size = (1, x.shape[1], *(side // stride for side in content.shape[-2:]))
                    targets[layer] = torch.empty(
                        size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last
                    )
                targets[layer][(..., *tile.of_map(layer))] = x[(..., *tile.of_own_map(layer))]
        return targets

    def _statistics_of(self, picture: Tensor) -> Statistics:
        """A style picture's own."""
        statistics = {}
        for level, image in enumerate(self._pyramid(picture)):
            sums: dict[str, Sums] = {}
            for tile in self._tiles(image):
                features = self.extractor.extract_features(image[(..., *tile.outer)], self.settings.style_layers)
                for layer, x in features.items():
                    part = self.statistic.accumulate(x[(..., *tile.of_own_map(layer))])
                    sums[layer] = _added(sums.get(layer), part)
            statistics |= {(level, layer): self.statistic.finish(*part) for layer, part in sums.items()}
        return statistics


def _value_and_gradient(loss, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = x.requires_grad_()
        value = loss(x)
        return value.detach(), torch.autograd.grad(value, x)[0]


def _unpooled(gradient: Tensor, size: Sequence[int]) -> Tensor:
    """The gradient of a 2x2 average pooling at its input of (height, width) `size`."""
    spread = F.interpolate(gradient, scale_factor=2, mode="nearest") / 4
    return F.pad(spread, (0, size[1] - spread.shape[-1], 0, size[0] - spread.shape[-2]))


def _detached(sums: Sums) -> Sums:
    return tuple(x.detach() for x in sums)


def _added(sums: Sums | None, part: Sums) -> Sums:
    return part if sums is None else tuple(a + b for a, b in zip(sums, part, strict=True))
