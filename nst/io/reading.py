"""Read picture files: any file, hostile ones too, becomes an upright sRGB picture or one clear error."""

import io
import os
import stat
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from nst.errors import StyleTransferError
from nst.io import bmp, png, tiff
from nst.io.addresses import refuse_address
from nst.io.avif import read_code_points
from nst.io.bmp import with_usual_masks
from nst.io.decoding import MAX_PIXELS, decode, refuse_damage, too_large
from nst.io.png import clean_png
from nst.io.tiff import open_tiff
from nst.io.transparency import lay_on_ground

MAX_BYTES = 1 << 30  # of a file, which is read whole
# Pillow gives EPS files, which are programs, to Ghostscript. A FITS file that lies about its size costs half a minute.
REFUSED_FORMATS = ("EPS", "FITS")
HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}  # AVIF files too may have the last two
AVIF_BRANDS = {b"avif", b"avis"}
PictureLike = str | os.PathLike | Image.Image


def load_picture(picture: PictureLike, name: str | None = None) -> Image.Image:
    """Return a picture as a PIL image in mode RGB, upright and in sRGB; the first frame of an animation.

    picture: a path or a PIL image, which stays as it is. Transparent pictures are laid on a plain ground that contrasts
    with them: white, black or grey. Values of 16 bits are scaled (not clipped) to 8 bits, and no metadata is kept.
    Messages call the picture `name`, by default the file's name without its folder.

    Raises StyleTransferError if the file is missing, empty, cut short, not a picture, over 1 GB or 100 megapixels.
    """
    return lay_on_ground(*load_with_opacity(picture, name))


def load_with_opacity(picture: PictureLike, name: str | None = None) -> tuple[Image.Image, Image.Image | None]:
    """Return the picture as `load_picture` does, but not laid on a ground, and its opacity.

    The opacity is an image in mode L of the same size (255 is opaque), or None if the picture has no transparency. The
    transparent parts of the picture continue the colours of the opaque ones.

    Raises StyleTransferError as `load_picture` does.
    """
    if isinstance(picture, Image.Image):
        return decode(picture, name or "The picture", close=False)
    if not isinstance(picture, (str, os.PathLike)):
        raise StyleTransferError(f"A picture must be a path or a PIL image, not {type(picture).__name__}.")
    with open_picture(picture, name) as image:
        return decode(image, name or _file_name(picture), close=True)


def load_photo(picture: PictureLike, name: str | None = None) -> Image.Image:
    """Return the picture of `load_with_opacity` as one image: in mode RGBA, or RGB if it has no transparency."""
    colours, opacity = load_with_opacity(picture, name)
    if opacity is not None:
        colours.putalpha(opacity)
    return colours


def open_picture(path: str | os.PathLike, name: str | None = None) -> Image.Image:
    """Return the file as a PIL image of which only the header is decoded yet.

    Raises StyleTransferError as `load_picture` does.
    """
    refuse_address(path, "download the picture first, and give the path of its file", name)
    name = name or _file_name(path)
    with refuse_damage(name):
        data = _read_bytes(path, name)
        if not data:
            raise StyleTransferError(f"{name}: the file is empty.")
        if _is_heic(data):
            raise StyleTransferError(f"{name}: HEIC pictures cannot be read; export it as JPEG or PNG first.")
        try:
            return open_tiff(data, name) if data.startswith(tiff.SIGNATURES) else _open_other(data, name)
        except Image.DecompressionBombError as error:
            raise too_large(name) from error
        except UnidentifiedImageError as error:
            message = f"{name}: not a picture that can be read; use JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF."
            raise StyleTransferError(message) from error


def _open_other(data: bytes, name: str) -> Image.Image:
    """Return a file of any format but TIFF as a PIL image whose info has what Pillow passes over."""
    info = {}
    if data.startswith(png.SIGNATURE):
        data, info = clean_png(data, name)
    elif data.startswith(bmp.SIGNATURE):
        data = with_usual_masks(data, MAX_PIXELS)
    Image.init()
    image = Image.open(io.BytesIO(data), formats=[kind for kind in Image.ID if kind not in REFUSED_FORMATS])
    if image.format == "AVIF" and "icc_profile" not in image.info and (code_points := read_code_points(data)):
        info["cicp"] = code_points
    image.info.update(info)
    return image


def _read_bytes(path: str | os.PathLike, name: str) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # reading would wait for a pipe, and a device may never end
            raise StyleTransferError(f"{name}: not a file.")
        if status.st_size > MAX_BYTES:
            raise StyleTransferError(f"{name}: over the limit of {MAX_BYTES >> 20} MB; scale it down first.")
        return Path(path).read_bytes()
    except StyleTransferError:  # which is a ValueError
        raise
    except FileNotFoundError as error:
        raise StyleTransferError(f"{name}: no such file.") from error
    except OSError as error:
        raise StyleTransferError(f"{name}: cannot be read ({error.strerror or error}).") from error
    except ValueError as error:  # a null byte in the name
        raise StyleTransferError(f"{name}: cannot be read ({error}).") from error


def _is_heic(data: bytes) -> bool:
    """Return whether a file is HEIC, by the brands that its first box lists."""
    if data[4:8] != b"ftyp":
        return False
    length = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[start : start + 4] for start in (8, *range(16, length, 4))}
    return bool(brands & HEIC_BRANDS) and not brands & AVIF_BRANDS


def _file_name(path: str | os.PathLike) -> str:
    return Path(path).name or str(path)
