"""Samples of 16, 32 and 64 bits to 8 bits: scaled to the range of their format, not clipped at 255."""

from collections.abc import Callable

import numpy as np
from PIL import Image

ROWS_AT_ONCE = 256  # numpy needs several times the memory of the rows that it converts
HDR_WHITE = 16  # floating-point pictures have white at 1 and highlights above it, or white at 255


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Return grey of 16 bits, 32 bits or floating point as mode L, and every other image unchanged.

    Values are scaled to the range of their format: `convert` alone would clip everything above 255 to white.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    highest = max(find_extremes(rows)[1] for rows in row_blocks(values))
    white = white_level(values.dtype, 8 * values.dtype.itemsize, highest)
    result = np.empty(values.shape, np.uint8)
    scale_rows(values, result, white)
    return Image.fromarray(result)


def white_level(dtype: np.dtype, bits: int, highest: float) -> float:
    """Return the value that is white: the highest of the format, or of the picture where the format does not tell.

    highest: the highest value of the picture. Floating point has white at 1 or at 255, or reaches further. Integers of
    32 bits and more may hold values of 8 or 16 bits.
    """
    if dtype.kind == "f":
        return 1 if highest < HDR_WHITE else max(highest, 255)
    top = 2 ** (bits - (dtype.kind == "i")) - 1
    if (dtype.kind == "u" and bits <= 16) or bits <= 8:
        return top
    if highest <= 255:
        return 255
    if bits <= 16 or highest > 2 ** (bits - 2):
        return top
    return max(highest, 65535)


def find_extremes(values: np.ndarray) -> tuple[float, float]:
    """Return the lowest and the highest of the finite values; zeros if there are none."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def scale_rows(values: np.ndarray, result: np.ndarray, white: float) -> None:
    """Write `values`, (H, ...), to `result` of the same shape, in uint8: `white` becomes 255."""

    def scaled(rows: np.ndarray) -> np.ndarray:
        numbers = np.nan_to_num(rows.astype(np.float64), posinf=white, neginf=0)
        return (numbers * (255 / white)).round().clip(0, 255)

    map_rows(scaled, values, result)


def map_rows(function: Callable[[np.ndarray], np.ndarray], values: np.ndarray, result: np.ndarray) -> None:
    """Write `function` of `values` to `result`, a few rows at a time: this needs little memory."""
    for rows, target in zip(row_blocks(values), row_blocks(result), strict=True):
        target[...] = function(rows)


def row_blocks(values: np.ndarray) -> list[np.ndarray]:
    """Return views of a few rows each."""
    return [values[row : row + ROWS_AT_ONCE] for row in range(0, len(values), ROWS_AT_ONCE)]
