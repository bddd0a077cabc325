"""Pictures from files to tensors and back.

The library's one currency is float32 RGB in [0, 1], shape (N, 3, H, W). Whatever a file holds (EXIF orientation, an
embedded colour profile, transparency, 16 bits, CMYK, a palette, grey) is settled here, once, while reading.
"""

import contextlib
import io
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from nst.errors import StyleTransferError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_PIXELS = 100_000_000  # a 100-megapixel picture decodes to 300 MB; more is an accident or an attack
MIN_SIDE = 16  # px; conv5_1 sees such a side as a single position
PictureLike = str | os.PathLike | Image.Image


def load_picture(picture: PictureLike, name: str | None = None) -> Image.Image:
    """A picture as a PIL image in mode RGB, upright and in sRGB; the first frame of an animation.

    Transparency is laid on white, 16-bit values are scaled (not clipped) to 8 bits, and no metadata is kept. `name` is
    what messages call the picture; by default the file's own name, without its folder.

    Raises StyleTransferError if it is missing, empty, truncated, not a picture, or over `MAX_PIXELS`.
    """
    if isinstance(picture, Image.Image):
        name = name or "The picture"
        return _decode(picture, name)
    if not isinstance(picture, (str, os.PathLike)):
        raise StyleTransferError(f"A picture must be a path or a PIL image, not {type(picture).__name__}.")
    path = Path(picture)
    name = name or path.name or str(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise StyleTransferError(f"{name}: no such file.") from error
    except (OSError, ValueError) as error:
        raise StyleTransferError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if not data:
        raise StyleTransferError(f"{name}: the file is empty.")
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        raise StyleTransferError(f"{name}: HEIC pictures cannot be read; export it as JPEG or PNG first.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own pixel warning: the limit is enforced in _decode
            image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise StyleTransferError(_too_large(name)) from error
    except UnidentifiedImageError as error:
        message = f"{name}: not a picture that can be read; use JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF."
        raise StyleTransferError(message) from error
    except Exception as error:  # Pillow's many plugins raise whatever they like on broken headers
        raise StyleTransferError(f"{name}: the file is damaged or cut short.") from error
    with image:
        return _decode(image, name)


def _too_large(name: str) -> str:
    return f"{name}: over the limit of {MAX_PIXELS // 1_000_000} megapixels; scale it down first."


def _decode(image: Image.Image, name: str) -> Image.Image:
    if image.width * image.height > MAX_PIXELS:
        raise StyleTransferError(_too_large(name))
    try:
        image.load()
        profile = image.info.get("icc_profile")
        with contextlib.suppress(Exception):  # damaged EXIF must not lose the picture
            image = ImageOps.exif_transpose(image)
        image = _eight_bit(image)
        image = _to_srgb(image, profile)
        if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return _without_metadata(image.convert("RGB"))
    except StyleTransferError:
        raise
    except Exception as error:  # see load_picture: a broken body fails in as many ways as a broken header
        raise StyleTransferError(f"{name}: the file is damaged or cut short.") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point grey to 8 bits; `convert` alone would clip everything above 255 to white."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    top = values.max(initial=0)
    scale = 255 / 65535 if image.mode.startswith("I") and top > 255 else 255 if top <= 1 else 255 / max(top, 255)
    if image.mode.startswith("I;16"):
        scale = 255 / 65535
    return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours by the embedded ICC profile to sRGB; a broken or unfitting profile is ignored, as browsers do."""
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        alpha = image.convert("RGBA").getchannel("A") if image.mode in ("RGBA", "LA", "PA", "P") else None
        if source.profile.xcolor_space.strip() == "GRAY":
            image = image.convert("L")
        elif image.mode != "CMYK":
            image = image.convert("RGB")
        image = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        if alpha is not None:
            image.putalpha(alpha)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        pass
    return image


def _without_metadata(image: Image.Image) -> Image.Image:
    # GPS positions and the like ride along in `info` and would be written into every file made from this image.
    image = image.copy()
    image.info = {}
    image.getexif().clear()
    return image


def fitted_size(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """(width, height) scaled so that the long side is `long_side` px, the aspect kept, no side under 1."""
    scale = long_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize_picture(image: Image.Image, size: int | tuple[int, int], name: str = "The picture") -> Image.Image:
    """`image` with its long side `size` px, or of exactly (width, height) `size`; Lanczos.

    Raises StyleTransferError if a side would come out under `MIN_SIDE`.
    """
    target = fitted_size(image.size, size) if isinstance(size, int) else tuple(size)
    if min(target) < MIN_SIDE:
        raise StyleTransferError(
            f"{name}: its short side would be {min(target)} px at this size; at least {MIN_SIDE} px are needed."
        )
    return image if image.size == target else image.resize(target, Image.Resampling.LANCZOS)


def to_tensor(image: Image.Image) -> Tensor:
    """(1, 3, H, W) float32 in [0, 1] from an RGB image."""
    array = np.array(image.convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1)[None].contiguous().float() / 255


def to_picture(pixels: Tensor) -> Image.Image:
    """An RGB image from (1, 3, H, W) or (3, H, W); values are clamped to [0, 1] and rounded to 8 bits."""
    pixels = pixels.detach()
    pixels = pixels[0] if pixels.dim() == 4 else pixels
    array = pixels.float().clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(array))


def image_processing(path_or_image: PictureLike, size: int | tuple[int, int] = (224, 224)) -> Tensor:
    """The classic recipe's input: (1, 3, H, W), normalised with ImageNet mean and standard deviation.

    size: (width, height) exactly, by default 224x224; or the long side in px, keeping the aspect.

    Raises StyleTransferError as `load_picture` and `resize_picture` do.
    """
    pixels = to_tensor(resize_picture(load_picture(path_or_image), size))
    return (pixels - _channels(IMAGENET_MEAN)) / _channels(IMAGENET_STD)


def deprocess_image(tensor: Tensor) -> Image.Image:
    """Undo `image_processing`: a PIL image from a normalised (1, 3, H, W) or (3, H, W) tensor."""
    tensor = tensor.detach().float().cpu()
    return to_picture(tensor * _channels(IMAGENET_STD) + _channels(IMAGENET_MEAN))


def _channels(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)
