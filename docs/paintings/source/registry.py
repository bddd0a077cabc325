"""The painters by name, and the canvas they are given."""

from collections.abc import Callable

import numpy as np
from PIL import Image

Painter = Callable[[int, int, np.random.Generator], Image.Image]
PAINTINGS: dict[str, Painter] = {}


def painting(name: str, smooth: bool = False) -> Callable[[Painter], Painter]:
    """Register a painter, which then works on a larger canvas that is reduced for antialiasing.

    A smooth painter has soft edges of its own and needs only half that enlargement.
    """

    def register(painter: Painter) -> Painter:
        def painted(width: int, height: int, rng: np.random.Generator) -> Image.Image:
            area = width * height
            enlarge = min(np.clip(round((1.3e6 / area) ** 0.5), 2, 8), max(1.0, (6e6 / area) ** 0.5))
            enlarge = max(1.0, enlarge / 2) if smooth else enlarge
            canvas = painter(round(width * enlarge), round(height * enlarge), rng)
            return canvas.resize((width, height), Image.Resampling.HAMMING)

        painted.__name__, painted.__doc__ = painter.__name__, painter.__doc__
        PAINTINGS[name] = painted
        return painter

    return register
