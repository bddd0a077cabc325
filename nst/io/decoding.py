"""Decode a Pillow image of any mode to an upright 8-bit sRGB picture, with its opacity.

EXIF orientation, an embedded colour profile, transparency, 16 bits, CMYK, a palette and grey are all dealt with here,
once.
"""

import contextlib
import threading
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image

from nst.errors import StyleTransferError
from nst.io.depth import to_eight_bits
from nst.io.jpeg import load_jpeg
from nst.io.orientation import turn_upright
from nst.io.profiles import GREY_MODES, find_colours, to_srgb
from nst.io.transparency import fill_transparent
from nst.io.unused_alpha import declares_alpha_unused, drop_unused_alpha

MAX_PIXELS = 100_000_000  # a 100-megapixel picture decodes to 400 MB; more is an accident or an attack
LARGE = 16_000_000  # px; larger pictures are decoded one at a time: many visitors need no more memory than one

_large_pictures = threading.Lock()
# Pillow warns of oddities in files. This package corrects or refuses them all, so that the warnings say nothing new.
# The filter holds for the whole process because Python has no filter for one thread: `warnings.catch_warnings` replaces
# the process's filters and puts them back, and two threads that do so at the same time leave the wrong ones behind.
# Only warnings that are raised inside Pillow's own modules are ignored.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode(image: Image.Image, name: str, *, close: bool) -> tuple[Image.Image, Image.Image | None]:
    """Return an upright RGB picture in sRGB and its opacity.

    The opacity is an image in mode L of the same size, or None if `image` has no transparency. Transparent parts of the
    picture continue the colours of the others. The picture has no metadata. With `close`, `image` is closed as soon as
    it is converted: this frees its memory early. Messages call the picture `name`.

    Raises StyleTransferError if the image is over `MAX_PIXELS`, damaged or cut short, or if memory runs out.
    """
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise too_large(name)
    with refuse_damage(name), _large_pictures if pixels > LARGE else contextlib.nullcontext():
        upright, opacity = split_opacity(turn_upright(load_whole(image)))
        picture = to_srgb(to_eight_bits(upright), find_colours(image))
        del upright
        if close:
            image.close()
        if opacity is not None:
            picture = fill_transparent(picture, opacity)
        picture.info = {}  # GPS positions and the like, which would be written into every file made from this image
        return picture, opacity


@contextlib.contextmanager
def refuse_damage(name: str) -> Iterator[None]:
    """Raise StyleTransferError in place of any other error: Pillow's many readers raise errors of every kind."""
    try:
        yield
    except StyleTransferError:
        raise
    except MemoryError as error:
        raise StyleTransferError(f"{name}: there is not enough memory to read it; scale it down first.") from error
    except Exception as error:
        raise StyleTransferError(f"{name}: the file is damaged or cut short.") from error


def too_large(name: str) -> StyleTransferError:
    """Return the error for a picture over `MAX_PIXELS`."""
    return StyleTransferError(f"{name}: over the limit of {MAX_PIXELS // 1_000_000} megapixels; scale it down first.")


def load_whole(image: Image.Image) -> Image.Image:
    """Return `image` with its pixels loaded, and without an alpha channel that is no opacity."""
    is_alpha_unused = declares_alpha_unused(image)
    if image.format in ("JPEG", "MPO"):
        image = load_jpeg(image)
    else:
        image.load()
    return drop_unused_alpha(image, is_alpha_unused)


def split_opacity(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the picture and its opacity in mode L, which is None for a mode and file without transparency.

    The opacity comes from an alpha channel, from a palette, or from one colour that the file declares transparent.
    """
    transparent_colour = image.info.get("transparency")
    if image.mode.startswith("I"):  # Pillow cannot give these an alpha channel
        if transparent_colour is None:
            return image, None
        return image, Image.fromarray(np.uint8(255) * (np.asarray(image) != transparent_colour))
    if transparent_colour is None and image.mode not in ("LA", "PA", "RGBA", "RGBa"):
        return image, None
    with_alpha = image if image.mode == "RGBA" else image.convert("RGBA")
    return image if image.mode in GREY_MODES else with_alpha, with_alpha.getchannel("A")
