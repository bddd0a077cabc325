"""Pictures from files to tensors and back.

The library's one currency is float32 RGB in [0, 1], shape (N, 3, H, W). Whatever a file holds (EXIF orientation, an
embedded colour profile, transparency, 16 bits, CMYK, a palette, grey) is settled here, once, while reading.
"""

import contextlib
import io
import os
import stat
import threading
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from torch import Tensor

from nst.errors import StyleTransferError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_PIXELS = 100_000_000  # a 100-megapixel picture decodes to 400 MB; more is an accident or an attack
MAX_BYTES = 1 << 30  # of the file, which is read whole
LARGE = 16_000_000  # px; above it pictures are decoded one at a time, so that several visitors need no more memory
UNREAD = ("EPS", "FITS")  # to Pillow, EPS is a program to be run by Ghostscript; a lying FITS costs half a minute
ROWS = 256  # at once, where numpy needs several times a picture's memory
MIN_SIDE = 16  # px; conv5_1 sees such a side as a single position
TURNS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
GREY_MODES = ("1", "L", "LA")
HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}  # the last two: also of AVIF files
AVIF_BRANDS = {b"avif", b"avis"}
PictureLike = str | os.PathLike | Image.Image

_large_pictures = threading.Lock()
# What Pillow finds odd is mended here or refused. A filter for good, because `catch_warnings` does not bear threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def load_picture(picture: PictureLike, name: str | None = None) -> Image.Image:
    """A picture as a PIL image in mode RGB, upright and in sRGB; the first frame of an animation.

    Transparency is laid on white, 16-bit values are scaled (not clipped) to 8 bits, and no metadata is kept. `name` is
    what messages call the picture; by default the file's own name, without its folder.

    Raises StyleTransferError if it is missing, empty, truncated, not a picture, or over `MAX_PIXELS`.
    """
    return load_with_opacity(picture, name)[0]


def load_with_opacity(picture: PictureLike, name: str | None = None) -> tuple[Image.Image, Image.Image | None]:
    """As `load_picture`, and how opaque the picture is where: mode L of the same size, or None if it does not say."""
    if isinstance(picture, Image.Image):
        return _decode(picture, name or "The picture", own=False)
    if not isinstance(picture, (str, os.PathLike)):
        raise StyleTransferError(f"A picture must be a path or a PIL image, not {type(picture).__name__}.")
    with open_picture(picture, name) as image:
        return _decode(image, name or _name(picture), own=True)


def open_picture(picture: str | os.PathLike, name: str | None = None) -> Image.Image:
    """The file's header read, its pixels not yet decoded. Raises StyleTransferError as `load_picture` does."""
    name = name or _name(picture)
    try:
        data = _read(picture, name)
    except FileNotFoundError as error:
        raise StyleTransferError(f"{name}: no such file.") from error
    except OSError as error:
        raise StyleTransferError(f"{name}: cannot be read ({error.strerror or error}).") from error
    except MemoryError as error:
        raise _no_memory(name) from error
    if not data:
        raise StyleTransferError(f"{name}: the file is empty.")
    if _is_heic(data):
        raise StyleTransferError(f"{name}: HEIC pictures cannot be read; export it as JPEG or PNG first.")
    Image.init()
    try:
        return Image.open(io.BytesIO(data), formats=[kind for kind in Image.ID if kind not in UNREAD])
    except Image.DecompressionBombError as error:
        raise StyleTransferError(_too_large(name)) from error
    except UnidentifiedImageError as error:
        message = f"{name}: not a picture that can be read; use JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF."
        raise StyleTransferError(message) from error
    except MemoryError as error:
        raise _no_memory(name) from error
    except Exception as error:  # Pillow's many plugins raise whatever they like on broken headers
        raise StyleTransferError(f"{name}: the file is damaged or cut short.") from error


def _read(path: str | os.PathLike, name: str) -> bytes:
    try:
        status = os.stat(path)
    except ValueError as error:  # a null byte in the name
        raise StyleTransferError(f"{name}: cannot be read ({error}).") from error
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device may never end
        raise StyleTransferError(f"{name}: not a file.")
    if status.st_size > MAX_BYTES:
        raise StyleTransferError(f"{name}: over the limit of {MAX_BYTES >> 20} MB; scale it down first.")
    return Path(path).read_bytes()


def _is_heic(data: bytes) -> bool:
    """By the brands that its first box lists."""
    if data[4:8] != b"ftyp":
        return False
    length = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[place : place + 4] for place in (8, *range(16, length, 4))}
    return bool(brands & HEIC_BRANDS) and not brands & AVIF_BRANDS


def _name(picture: str | os.PathLike) -> str:
    return Path(picture).name or str(picture)


def _too_large(name: str) -> str:
    return f"{name}: over the limit of {MAX_PIXELS // 1_000_000} megapixels; scale it down first."


def _no_memory(name: str) -> StyleTransferError:
    return StyleTransferError(f"{name}: there is not enough memory to read it; scale it down first.")


def _decode(image: Image.Image, name: str, own: bool) -> tuple[Image.Image, Image.Image | None]:
    """`own`: nobody else needs `image`, whose memory can be had back as soon as it is converted."""
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise StyleTransferError(_too_large(name))
    try:
        with _large_pictures if pixels > LARGE else contextlib.nullcontext():
            image.load()
            upright, opacity = _split_opacity(_upright(image))
            picture = _to_srgb(_eight_bit(upright), image.info.get("icc_profile"))
            del upright
            if own:
                image.close()
            if opacity is not None:
                white = Image.new("RGB", picture.size, "white")
                white.paste(picture, mask=opacity)
                picture = white
            picture.info = {}  # GPS positions and the like, which would be written into every file made from this image
            return picture, opacity
    except MemoryError as error:
        raise _no_memory(name) from error
    except Exception as error:  # see open_picture: a broken body fails in as many ways as a broken header
        raise StyleTransferError(f"{name}: the file is damaged or cut short.") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as EXIF says. `ImageOps.exif_transpose` gives up where any other part of the EXIF is damaged."""
    orientation = None
    with contextlib.suppress(Exception):  # EXIF damaged as a whole must not lose the picture
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _split_opacity(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The picture and, where a channel, a palette or one transparent colour tells it, its opacity in mode L."""
    key = image.info.get("transparency")
    if image.mode.startswith("I"):  # Pillow cannot give these an alpha channel
        return image, None if key is None else Image.fromarray(np.uint8(255) * (np.asarray(image) != key))
    if key is None and image.mode not in ("LA", "PA", "RGBA", "RGBa"):
        return image, None
    opaque = image if image.mode == "RGBA" else image.convert("RGBA")
    return image if image.mode in GREY_MODES else opaque, opaque.getchannel("A")


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point grey to 8 bits; `convert` alone would clip everything above 255 to white."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    blocks = [slice(row, row + ROWS) for row in range(0, image.height, ROWS)]
    numbers = lambda rows: np.nan_to_num(values[rows].astype(np.float64))  # noqa: E731
    top = max(numbers(rows).max(initial=0) for rows in blocks)
    if image.mode == "F":
        white = 1 if top <= 1 else max(top, 255)
    else:  # mode I, 32 bits, is also how 8-bit and 16-bit values come
        white = 255 if image.mode == "I" and top <= 255 else max(top, 65535)
    result = np.empty(values.shape, np.uint8)
    for rows in blocks:
        result[rows] = (numbers(rows) * (255 / white)).round().clip(0, 255)
    return Image.fromarray(result)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A new image in mode RGB, by the embedded ICC profile; a broken or unfitting one is ignored, as browsers do."""
    if not profile:
        return image.convert("RGB")
    kind = "L" if image.mode in GREY_MODES else "CMYK" if image.mode == "CMYK" else "RGB"
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        wanted = {"GRAY": "L"}.get(space := source.profile.xcolor_space.strip(), space)
        if (kind, wanted) in (("L", "L"), ("L", "RGB"), ("RGB", "RGB"), ("CMYK", "CMYK")):
            srgb = ImageCms.createProfile("sRGB")
            fitting = image if image.mode == wanted else image.convert(wanted)
            return ImageCms.profileToProfile(fitting, source, srgb, outputMode="RGB")
    return image.convert("RGB")


def fitted_size(size: tuple[int, int], long_side: int, keep_aspect: bool = True) -> tuple[int, int]:
    """(width, height) scaled so that the long side is `long_side` px, no side under 1; a square without the aspect."""
    if not keep_aspect:
        return long_side, long_side
    scale = long_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def check_sides(size: tuple[int, int], name: str) -> None:
    """Raise StyleTransferError if a side of (width, height) `size` is under `MIN_SIDE`."""
    if min(size) < MIN_SIDE:
        raise StyleTransferError(
            f"{name}: its short side would be {min(size)} px at this size; at least {MIN_SIDE} px are needed."
        )


def resize_picture(image: Image.Image, size: int | tuple[int, int], name: str = "The picture") -> Image.Image:
    """`image` with its long side `size` px, or of exactly (width, height) `size`; Lanczos.

    Raises StyleTransferError if a side would come out under `MIN_SIDE`.
    """
    target = fitted_size(image.size, size) if isinstance(size, int) else tuple(size)
    check_sides(target, name)
    return image if image.size == target else image.resize(target, Image.Resampling.LANCZOS)


def to_tensor(image: Image.Image) -> Tensor:
    """(1, 3, H, W) float32 in [0, 1] from an RGB image."""
    array = np.array(image.convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1)[None].contiguous().float() / 255


def to_picture(pixels: Tensor) -> Image.Image:
    """An RGB image from (1, 3, H, W) or (3, H, W); values are clamped to [0, 1] and rounded to 8 bits."""
    return Image.fromarray(to_bytes(pixels).cpu().numpy())


def to_bytes(pixels: Tensor) -> Tensor:
    """(H, W, 3) uint8, on the same device, of what `to_picture` takes."""
    pixels = pixels.detach()
    pixels = pixels[0] if pixels.dim() == 4 else pixels
    return pixels.float().clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous()


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
