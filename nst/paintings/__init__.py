"""A small gallery of style pictures, each painted by code from nothing but a seed: `paint("oil", 640, 480, seed=3)`.

They are original pictures, free of any museum's or photographer's rights. Compositions are laid out in units of the
shorter side, so a style looks the same at every size; very long pictures count as at most four times longer than they
are wide, which keeps their brushes a sensible size.
"""

import zlib

import numpy as np
from PIL import Image

from nst.errors import StyleTransferError
from nst.paintings import glass, shapes, strokes  # noqa: F401  they enter their painters into PAINTINGS
from nst.paintings.registry import PAINTINGS

__all__ = ["PAINTINGS", "paint"]
SMALLEST, LARGEST = 16, 4096  # px


def paint(name: str, width: int = 640, height: int = 480, seed: int = 0) -> Image.Image:
    """Paint a style picture; the same name, size and seed always give the same picture."""
    if name not in PAINTINGS:
        raise StyleTransferError(f"Unknown painting {name!r}; choose from {', '.join(PAINTINGS)}.")
    if not (SMALLEST <= width <= LARGEST and SMALLEST <= height <= LARGEST):
        raise StyleTransferError(
            f"Cannot paint {width} x {height}; each side must be {SMALLEST} to {LARGEST} pixels."
        )
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed & 0xFFFFFFFF])
    return PAINTINGS[name](width, height, rng)
