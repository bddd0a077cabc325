"""Cutting a picture into tiles whose features are exactly those of the whole."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from nst.layers import BLOCKS, LAYERS

STEP = 2 ** (len(BLOCKS) - 1)  # px: tiles start where every pooling's squares do
# px: in bf16 no map of a tile is over 32 MiB; the C library keeps what is no larger, and gives the rest back to the
# system, which clears it anew each time: 8 to 16 % of a step, measured.
TILE_SIDE = 480


@dataclass(frozen=True)
class Tile:
    """A part of a picture: the pixels it accounts for (`inner`), and those a network must see for that (`outer`).

    Both are (rows, columns) slices of the picture. All starts are multiples of every pooling's stride.
    """

    inner: tuple[slice, slice]
    outer: tuple[slice, slice]
    size: tuple[int, int]  # (height, width) of the picture

    def of_map(self, layer: str) -> tuple[slice, slice]:
        """Where the inner part lies in the whole picture's feature map of that layer."""
        stride = 2 ** (int(layer[4]) - 1)
        return tuple(_scaled(part, 0, side, stride) for part, side in zip(self.inner, self.size, strict=True))

    def of_own_map(self, layer: str) -> tuple[slice, slice]:
        """Where the inner part lies in the feature map of the outer part alone."""
        stride = 2 ** (int(layer[4]) - 1)
        return tuple(
            _scaled(part, outer.start, side, stride)
            for part, outer, side in zip(self.inner, self.outer, self.size, strict=True)
        )


def _scaled(part: slice, origin: int, side: int, stride: int) -> slice:
    # At the picture's far edge the end is open: what a pooling left over there belongs to no feature.
    stop = None if part.stop == side else (part.stop - origin) // stride
    return slice((part.start - origin) // stride, stop)


def reach(layer: str) -> int:
    """How many pixels to either side a feature of that layer sees at most beyond its own stride x stride pixels."""
    pixels, stride = 0, 1
    for name in LAYERS:
        if name.endswith("_1") and name != "conv1_1":
            pixels, stride = pixels + stride, 2 * stride  # the 2x2 pooling
        pixels += stride  # the 3x3 convolution
        if name == layer:
            return pixels
    raise ValueError(layer)


def halo(layers: Iterable[str]) -> int:
    """How many pixels more to either side a tile must show of a picture, for features of these layers."""
    return math.ceil(max(map(reach, layers)) / STEP) * STEP


def side_of_tiles(layers: Iterable[str]) -> int:
    """px, in pictures too large to be held whole: at least so large that the margins are less than half of the work."""
    return max(TILE_SIDE, 10 * halo(layers))


def cut(height: int, width: int, side: int, layers: Iterable[str]) -> list[Tile]:
    """Tiles of about equal size, at most about `side` px each way, whose inner parts cover the picture once.

    The whole picture, as one tile, if it is no larger than that.
    """
    margin = halo(layers)
    rows, columns = (_pieces(length, side) for length in (height, width))
    return [
        Tile(
            (inner_rows, inner_columns),
            (_widened(inner_rows, margin, height), _widened(inner_columns, margin, width)),
            (height, width),
        )
        for inner_rows in rows
        for inner_columns in columns
    ]


def _pieces(length: int, side: int) -> list[slice]:
    count = math.ceil(length / side)
    piece = math.ceil(length / count / STEP) * STEP
    return [slice(start, min(start + piece, length)) for start in range(0, length, piece)]


def _widened(part: slice, margin: int, length: int) -> slice:
    return slice(max(0, part.start - margin), min(length, part.stop + margin))
