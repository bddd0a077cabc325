"""Sizes of pictures: fit them to a long side, check them, resize to them. This module does not import torch."""

from typing import TYPE_CHECKING

from nst.errors import StyleTransferError

if TYPE_CHECKING:
    from PIL import Image

MIN_SIDE = 16  # px; in conv5_1 such a side is a single position


def fitted_size(size: tuple[int, int], long_side: int, keep_aspect: bool = True) -> tuple[int, int]:
    """Return (width, height) scaled so that the long side is `long_side` px and no side is under 1 px.

    Without `keep_aspect` the result is a square.
    """
    if not keep_aspect:
        return long_side, long_side
    scale = long_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def check_sides(size: tuple[int, int], name: str) -> None:
    """Raise StyleTransferError if a side of `size`, (width, height), is under `MIN_SIDE`."""
    if min(size) < MIN_SIDE:
        raise StyleTransferError(
            f"{name}: its short side would be {min(size)} px at this size; at least {MIN_SIDE} px are needed."
        )


def resize_picture(image: "Image.Image", size: int | tuple[int, int], name: str = "The picture") -> "Image.Image":
    """Return `image` resized with Lanczos's filter.

    size: the long side in px, which keeps the aspect, or (width, height). Messages call the picture `name`.

    Raises StyleTransferError if a side would be under `MIN_SIDE`.
    """
    target = fitted_size(image.size, size) if isinstance(size, int) else tuple(size)
    check_sides(target, name)

    from PIL import Image  # here, because settings need this module, and `import nst` alone loads no library

    return image if image.size == target else image.resize(target, Image.Resampling.LANCZOS)
