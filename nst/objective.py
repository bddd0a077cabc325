"""The objective: the losses of a picture, and the gradient of their weighted sum at its pixels.

    total = content_weight * content + style_weight * style + laplacian_weight * outlines + tv_weight * variation

One forward pass through the network, and one backward pass by autograd. The losses depend on the picture through sums
over positions only. So a picture that is too large to be held with all its features is evaluated in tiles: the first
pass adds the sums up over all tiles, the second one carries the gradient of the losses at these sums back to the
pixels of each tile. Tiles change nothing but time and memory.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nst.engine.hardware import Hardware
from nst.engine.tiling import Tile, cut_into_tiles, default_tile_side
from nst.io.colour import grey
from nst.layers import layer_stride
from nst.losses import (
    STATISTICS,
    compare,
    image_pyramid,
    laplacian_loss,
    layout_loss,
    squared_difference,
    total_variation,
)
from nst.models.checkpoints import Backbone
from nst.models.vgg import Vgg19
from nst.settings import StyleSettings
from nst.targets import Key, StyleInput, TargetBuilder, compared_layers


class Losses(NamedTuple):
    """Five scalars, as tensors or floats. `total` is the sum of the others times their weights."""

    content: Tensor
    laplacian: Tensor
    style: Tensor
    tv: Tensor
    total: Tensor


LAYOUT_SHARE = 10.0  # with a sketch: the factor of the layout loss in the content loss

# Sums over the positions of one layer, by what they belong to: "content", "style" for all styles without a mask
# together, or the number of the first style that has a mask.
Sums = dict[str | int, tuple[Tensor, ...]]


class Objective:
    """The objective of one stage: it compares a picture with targets, which are computed once, when it is made."""

    def __init__(
        self,
        extractor: Vgg19,
        settings: StyleSettings,
        content: Tensor,
        styles: Sequence[StyleInput],
        tile_side: int | None = None,
        cache_key: str | None = None,
    ):
        """
        content: (1, 3, H, W) in [0, 1], at the size to be painted.
        styles: (picture, weight, mask) each; the picture (1, 3, h, w), the mask (1, 1, H, W) or None. A style's share
        is its weight divided by the sum of all weights.
        tile_side: px; by default only pictures that are too large to be held whole are cut into tiles.
        cache_key: names the extractor's weights, precision and pooling. With a key, `TARGETS` stores the targets.

        `extra_loss` may be set to a loss of the picture's pixels that is added to the total, such as that of a video.
        """
        self.extra_loss: Callable[[Tensor], Tensor] | None = None
        self.extractor, self.settings = extractor, settings
        self.statistic, self.layers = STATISTICS[settings.style_statistic], compared_layers(settings)
        self.tile_side = tile_side or default_tile_side(self.layers, extractor.dtype, content)
        builder = TargetBuilder(extractor, settings, self.tile_side, cache_key)
        self.targets = builder.build(content, styles)
        masks = [target.mask for target in self.targets.styles]
        # The name of each style's sums; styles with one mask tensor, the paintings of one style, have the same.
        self._names = ["style" if mask is None else [x is mask for x in masks].index(True) for mask in masks]
        self.content_counts = self.targets.content.counts()

    # --- the losses and their gradient --------------------------------------------------------------------------------

    @torch.enable_grad()
    def evaluate(self, pixels: Tensor) -> tuple[Losses, Tensor]:
        """Return the losses and the gradient of the total at `pixels`, (1, 3, H, W) in [0, 1]."""
        settings = self.settings
        pixels = pixels.detach().requires_grad_()
        picture = grey(pixels) if settings.preserve_colours else pixels
        tv = total_variation(picture)
        gradient = settings.tv_weight * _gradient(tv, picture)
        outlines = torch.zeros_like(tv)
        if self.targets.outlines:
            outlines = laplacian_loss(picture, self.targets.outlines)
            gradient += settings.laplacian_weight * _gradient(outlines, picture)

        content, style, level_gradients = torch.zeros_like(tv), torch.zeros_like(tv), []
        if self.targets.layout is not None:
            content = LAYOUT_SHARE * layout_loss(picture, self.targets.layout)
            gradient += settings.content_weight * _gradient(content, picture)
        levels = image_pyramid(picture, settings.style_levels)
        for level, image in enumerate(levels):  # one after the other, so that only one level's features are held
            level_content, level_style, level_gradient = self._evaluate_level(image.detach(), level)
            content, style = content + level_content, style + level_style
            level_gradients.append(level_gradient)
        gradient += torch.autograd.grad(levels, picture, level_gradients)[0]
        if picture is not pixels:
            (gradient,) = torch.autograd.grad(picture, pixels, gradient)

        pixel_losses = settings.laplacian_weight * outlines + settings.tv_weight * tv
        if self.extra_loss:
            extra = self.extra_loss(pixels)
            pixel_losses = pixel_losses + extra
            gradient = gradient + _gradient(extra, pixels)
        total = self._weighted(content, style) + pixel_losses
        return Losses(*(loss.detach() for loss in (content, outlines, style, tv, total))), gradient

    def _evaluate_level(self, image: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the content loss and the style loss of a level of the pyramid, and their weighted sum's gradient."""
        tiles = cut_into_tiles(*image.shape[-2:], self.tile_side, self.layers)
        if len(tiles) == 1:
            return self._evaluate_whole(image, level, tiles[0])
        return self._evaluate_tiles(image, level, tiles)

    def _evaluate_whole(self, image: Tensor, level: int, tile: Tile) -> tuple[Tensor, Tensor, Tensor]:
        image.requires_grad_()
        content = style = image.new_zeros(())
        # Each loss is computed as soon as its layer is. Autograd goes back in the opposite order: the gradient of a
        # layer's own loss, a map as large as the layer, is made only when the deeper layers' gradient arrives.
        for key, sums in self._sums_by_layer(image, level, tile):
            layer_content, layer_style = self._losses(key, sums)
            content, style = content + layer_content, style + layer_style
        return content.detach(), style.detach(), _gradient(self._weighted(content, style), image)

    def _evaluate_tiles(self, image: Tensor, level: int, tiles: list[Tile]) -> tuple[Tensor, Tensor, Tensor]:
        # Pass 1: add up the sums of all tiles, and find the gradient of the losses at these totals.
        totals: dict[Key, Sums] = {}
        with torch.no_grad():
            for tile in tiles:
                for key, sums in self._sums_by_layer(image[(..., *tile.outer)], level, tile, with_content=False):
                    totals[key] = _add(totals.get(key), sums)
        content = style = image.new_zeros(())
        for key, sums in totals.items():
            for x in _tensors(sums):
                x.requires_grad_()
            layer_content, layer_style = self._losses(key, sums)
            content, style = content + layer_content, style + layer_style
        loss = self._weighted(content, style)
        if loss.requires_grad:
            loss.backward()

        # Pass 2: carry that gradient back through the sums of each tile to its pixels.
        gradient, squares = torch.zeros_like(image), dict.fromkeys(self.content_counts, 0.0)
        for tile in tiles:
            pixels = image[(..., *tile.outer)].detach().requires_grad_()
            loss = image.new_zeros(())
            for key, sums in self._sums_by_layer(pixels, level, tile):
                for total, x in zip(_tensors(totals[key]), _tensors(sums), strict=True):
                    if total.grad is not None:
                        loss = loss + (total.grad * x).sum()
                if "content" in sums:
                    squares[key[1]] += sums["content"][0].detach()
            gradient[(..., *tile.outer)] += _gradient(loss, pixels)
        content = image.new_zeros(())
        for layer in self.content_counts if level == 0 else ():
            content = content + self._losses((level, layer), {"content": (squares[layer],)})[0]
        return content, style.detach(), gradient

    def _sums_by_layer(
        self, pixels: Tensor, level: int, tile: Tile, with_content: bool = True
    ) -> Iterator[tuple[Key, Sums]]:
        """Run the network over a tile's pixels, and yield the sums of each layer as soon as the layer is computed.

        Without `with_content` the sums of the content are zeros: the loss is linear in them.
        """
        layers = self.layers if level == 0 else self.settings.style_layers
        targets = self.targets.content.of_tile(tile) if level == 0 and with_content else {}
        for layer, features in self.extractor.iterate_features(pixels, layers):
            inner = tile.crop(features, layer)
            sums: Sums = {}
            if level == 0 and layer in self.content_counts:
                square = squared_difference(inner, targets[layer]) if with_content else pixels.new_zeros(())
                sums["content"] = (square,)
            if layer in self.settings.style_layers:
                sums |= self._style_sums(inner, layer, tile)
            yield (level, layer), sums

    def _style_sums(self, features: Tensor, layer: str, tile: Tile) -> Sums:
        """Return the sums of the style statistic over a tile's inner part: for each mask, and for no mask."""
        sums: Sums = {}
        for name, target in zip(self._names, self.targets.styles, strict=True):
            if name in sums:
                continue
            if target.mask is not None:
                map_size = tuple(side // layer_stride(layer) for side in tile.size)
                mask = target.mask_at(map_size)[(..., *tile.inner_of_picture_map(layer))]
                sums[name] = self.statistic.accumulate(features, mask)
            else:
                sums[name] = self.statistic.accumulate(features)
        return sums

    def _losses(self, key: Key, sums: Sums) -> tuple[Tensor | float, Tensor | float]:
        """Return the content loss and the style loss of one layer at one level, given its sums over all positions."""
        content = style = 0.0
        if "content" in sums:
            _, layer = key
            scale = self.content_counts[layer] * self.targets.content_scales[layer]
            content = sums["content"][0] / (scale * len(self.content_counts))
        statistics = {name: self.statistic.finish(*part) for name, part in sums.items() if name != "content"}
        for name, target in zip(self._names, self.targets.styles, strict=True):
            if key in target.statistics and statistics:
                loss = compare(statistics[name], target.statistics[key], target.scales.get(key, 1.0))
                style = style + target.weight * loss
        return content, style

    def _weighted(self, content: Tensor, style: Tensor) -> Tensor:
        return self.settings.content_weight * content + self.settings.style_weight * style


def build_extractor(backbone: Backbone, settings: StyleSettings, hardware: Hardware) -> Vgg19:
    """Return the extractor that a run with these settings uses."""
    return backbone.extractor(
        compared_layers(settings),
        pooling=None if settings.pooling == "backbone" else settings.pooling,
        device=hardware.device,
        dtype=hardware.dtype,
        memory_format=hardware.memory_format,
    )


def _gradient(loss: Tensor, x: Tensor) -> Tensor:
    """Return d loss / d x, or zeros if the loss does not depend on x: at a level that no style picture has."""
    return torch.autograd.grad(loss, x)[0] if loss.requires_grad else torch.zeros_like(x)


def _tensors(sums: Sums) -> list[Tensor]:
    return [x for part in sums.values() for x in part]


def _add(sums: Sums | None, others: Sums) -> Sums:
    if sums is None:
        return others
    return {name: tuple(a + b for a, b in zip(sums[name], others[name], strict=True)) for name in sums}
