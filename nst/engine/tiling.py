"""Cut a picture into overlapping tiles, without changing its features.

The features of each tile's inner part equal those of the whole picture.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from nst.layers import BLOCKS, LAYERS, layer_stride

GRID = 2 ** (len(BLOCKS) - 1)  # px: every tile starts on this grid, where the squares of all poolings start too
# px. In bf16 no feature map of such a tile is over 32 MiB. The C library reuses blocks up to that size; it returns
# larger ones to the system, which clears them at every allocation: 8 to 16 % of a step, measured.
TILE_SIDE = 480
UNTILED_LIMIT = 6_500_000  # pixels x bytes of a feature value: up to this a picture is held whole, in less than 6 GB
UNTILED_GPU_BYTES = 12e9  # a GPU with this much memory holds the same; a larger one holds more, in proportion

Region = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True)
class Tile:
    """A part of a picture.

    inner: the pixels that this tile accounts for. outer: the pixels that the network must see for that, which is the
    inner part and a margin. Both are (rows, columns) slices of the picture and start at multiples of `GRID`.
    size: (height, width) of the whole picture, in px.
    """

    inner: Region
    outer: Region
    size: tuple[int, int]

    @property
    def is_whole(self) -> bool:
        """Whether this tile is the whole picture."""
        return self.inner == self.outer

    def inner_of_picture_map(self, layer: str) -> Region:
        """Return where the inner part lies in the layer's feature map of the whole picture."""
        return self._inner_of_map(layer, (0, 0))

    def inner_of_tile_map(self, layer: str) -> Region:
        """Return where the inner part lies in the layer's feature map of the outer part."""
        rows, columns = self.outer
        return self._inner_of_map(layer, (rows.start, columns.start))

    def crop(self, features: Tensor, layer: str) -> Tensor:
        """Return the inner part of the layer's features of the outer part, (1, C, H, W); differentiable.

        The gradient has the features' own memory layout. That of plain slices is contiguous, which makes convolutions
        of channels_last memory slower: a tiled step then takes 1.1 to 1.2 times as long (at 2048 px in bf16).
        """
        return features if self.is_whole else _Crop.apply(features, *self.inner_of_tile_map(layer))

    def _inner_of_map(self, layer: str, origin: tuple[int, int]) -> Region:
        stride, regions = layer_stride(layer), []
        for pixels, start, length in zip(self.inner, origin, self.size, strict=True):
            # At the far edge the slice is open: the map ends there, even where a pooling dropped an odd row or column.
            stop = None if pixels.stop == length else (pixels.stop - start) // stride
            regions.append(slice((pixels.start - start) // stride, stop))
        return tuple(regions)


def cut_into_tiles(height: int, width: int, side: int, layers: Iterable[str]) -> list[Tile]:
    """Return tiles of about equal size whose inner parts cover a picture of `height` x `width` px exactly once.

    The inner parts are at most about `side` px high and wide. A picture no larger than that is one tile.
    layers: the layers whose features must be exact; the deepest one decides how wide the margin is.
    """
    margin = margin_for(layers)
    return [
        Tile((rows, columns), (_widen(rows, margin, height), _widen(columns, margin, width)), (height, width))
        for rows in _split(height, side)
        for columns in _split(width, side)
    ]


class _Crop(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor, rows: slice, columns: slice) -> Tensor:
        ctx.region, ctx.shape = (rows, columns), features.shape
        ctx.is_channels_last = features.is_contiguous(memory_format=torch.channels_last)
        return features[..., rows, columns]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        layout = torch.channels_last if ctx.is_channels_last else torch.contiguous_format
        result = torch.empty(ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=layout).zero_()
        result[(..., *ctx.region)] = gradient
        return result, None, None


def default_tile_side(layers: Iterable[str], dtype: torch.dtype, pixels: Tensor) -> int:
    """Return the side in px of the tiles to cut `pixels`, (1, 3, H, W), into; a picture that can be held is one tile.

    dtype: of the features.
    """
    height, width = pixels.shape[-2:]
    is_large = height * width * dtype.itemsize > untiled_limit(pixels.device)
    return tile_side_for(layers) if is_large else max(height, width)


def untiled_limit(device: torch.device) -> float:
    """Return the pixels x bytes of a feature value up to which a picture is evaluated as a whole."""
    if device.type != "cuda":
        return UNTILED_LIMIT
    return UNTILED_LIMIT * max(1.0, torch.cuda.get_device_properties(device).total_memory / UNTILED_GPU_BYTES)


def tile_side_for(layers: Iterable[str]) -> int:
    """Return the side of the inner parts in px, large enough that the margins cost less than half of the work."""
    return max(TILE_SIDE, 10 * margin_for(layers))


def margin_for(layers: Iterable[str]) -> int:
    """Return how many px a tile must show beyond its inner part on each side, for features of these layers."""
    return math.ceil(max(map(reach, layers)) / GRID) * GRID


def reach(layer: str) -> int:
    """Return how many px a feature of this layer sees, on each side, beyond its own stride x stride pixels."""
    pixels, stride = 0, 1
    for name in LAYERS:
        if name.endswith("_1") and name != "conv1_1":
            pixels, stride = pixels + stride, 2 * stride  # the 2x2 pooling before each block but the first
        pixels += stride  # the 3x3 convolution
        if name == layer:
            return pixels
    raise ValueError(layer)


def _split(length: int, side: int) -> list[slice]:
    count = math.ceil(length / side)
    piece = math.ceil(length / count / GRID) * GRID
    return [slice(start, min(start + piece, length)) for start in range(0, length, piece)]


def _widen(part: slice, margin: int, length: int) -> slice:
    return slice(max(0, part.start - margin), min(length, part.stop + margin))
