"""Paint a small gallery of pictures by code, from nothing but a seed: `paint("oil", 640, 480, seed=3)`.

They are original pictures, free of any museum's or photographer's rights. Compositions are laid out in units of the
shorter side, so that a style looks the same at every size. Very long pictures count as at most four times longer than
they are wide, which keeps their brushes a sensible size.
"""

import zlib

import numpy as np
from PIL import Image

import glass  # noqa: F401  these three modules register their painters
import shapes  # noqa: F401
import strokes  # noqa: F401
from registry import PAINTINGS

SMALLEST, LARGEST = 16, 4096  # px


def paint(name: str, width: int = 640, height: int = 480, seed: int = 0) -> Image.Image:
    """Return a painting; the same name, size and seed always give the same picture.

    Raises ValueError for an unknown name, or a side outside of `SMALLEST` to `LARGEST` px.
    """
    if name not in PAINTINGS:
        raise ValueError(f"Unknown painting {name!r}; choose from {', '.join(PAINTINGS)}.")
    if not (SMALLEST <= width <= LARGEST and SMALLEST <= height <= LARGEST):
        raise ValueError(f"Cannot paint {width} x {height}; each side must be {SMALLEST} to {LARGEST} pixels.")
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed & 0xFFFFFFFF])
    return PAINTINGS[name](width, height, rng)
