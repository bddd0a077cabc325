"""Results as files: lossless, with 8 or 16 bits per channel, with the photo's transparency and the recipe.

Formats that lose something are written so that the eye does not see it.
"""

import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nst.errors import StyleTransferError
from nst.io.files import write_atomically
from nst.io.transparency import take_off_ground
from nst.output.recipe import KEY, PaintingRecipe

if TYPE_CHECKING:
    from nst.step import Step

# Pillow's own choice for these formats halves the resolution of colour, which a painting's strokes consist of. Measured
# on a painted picture of 512 x 341 px, 292 KB as PNG, in dB against that:
JPEG = {"quality": 95, "subsampling": 0}  # 41.6 dB and 113 KB; by Pillow's choice 32.3 dB and 36 KB
SAVE_OPTIONS = {
    "JPEG": JPEG,
    "MPO": JPEG,
    "PDF": JPEG,  # the picture in it is a JPEG
    # WebP with losses always halves the resolution of colour: at best 38.1 dB and 90 KB, by Pillow's choice 33.5 dB and
    # 32 KB. Without losses it takes 236 KB, less than PNG.
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 90, "subsampling": "4:4:4"},  # 41.3 dB and 60 KB; by Pillow's choice 36.0 dB and 33 KB
}


def unrounded(step: "Step") -> np.ndarray:
    """Return the picture of a run's last step before it was rounded to 8 bits.

    The array is (H, W, 3) float32 in [0, 1] and has the size of `step.image`.

    Raises StyleTransferError for a step that is not the last one.
    """
    if step.state is None or step.image is None:
        raise StyleTransferError("Only the last step of a run has the unrounded picture.")
    return step.state.result(step.image.size)


def save_result(
    picture: Image.Image | np.ndarray,
    path: str | os.PathLike,
    recipe: PaintingRecipe | None = None,
    *,
    opacity: Image.Image | None = None,
    ground: tuple[int, int, int] | None = None,
) -> Path:
    """Write a result and return its path. The suffix chooses the format; PNG and TIFF are lossless and hold the recipe.

    picture: an RGB image, written with 8 bits per channel; or (H, W, 3) floats in [0, 1], as from `unrounded`, written
    with 16 bits.
    opacity: an image in mode L of any size, as from `load_with_opacity`. It becomes the alpha channel.
    ground: with an opacity, the colour (R, G, B) that the picture lies on, as `contrasting_ground` returns it. It is
    taken out of the colours, because at soft edges it would be a ring. Without it the colours stay.

    Pillow's other formats take only an image without opacity, and do not hold the recipe. See `SAVE_OPTIONS` for their
    quality.

    Raises StyleTransferError if the format cannot hold this, or the file cannot be written.
    """
    path = Path(path)
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format not in ("PNG", "TIFF"):
        if file_format not in Image.SAVE or not isinstance(picture, Image.Image) or opacity is not None:
            problem = "this format cannot be written, or not with that depth or transparency"
            raise StyleTransferError(f"{path.name}: {problem}; use .png or .tif.")
        options = SAVE_OPTIONS.get(file_format, {})
        return write_atomically(path, lambda temporary: picture.save(temporary, **options))
    array = _to_integers(picture)
    if opacity is not None:
        array = _with_alpha(array, opacity, ground)
    text = "" if recipe is None else recipe.to_json()
    save = _save_tiff if file_format == "TIFF" else _save_png if array.dtype == np.uint8 else _save_16_bit_png
    return write_atomically(path, lambda temporary: save(array, temporary, text))


def _to_integers(picture: Image.Image | np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 of an image, or uint16 of floats in [0, 1]."""
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    return (picture.clip(0, 1) * np.float32(65535)).round().astype(np.uint16)


def _with_alpha(array: np.ndarray, opacity: Image.Image, ground: tuple[int, int, int] | None) -> np.ndarray:
    """Return (H, W, 4) of the type of `array`, (H, W, 3): without the ground, and with the opacity as alpha."""
    # Lanczos's filter would overshoot: a picture that is opaque up to an edge must stay opaque there.
    alpha = opacity.resize(array.shape[1::-1], Image.Resampling.BILINEAR)
    white = np.iinfo(array.dtype).max
    if ground is not None:
        colours = take_off_ground(np.float32(array) / white, alpha, ground)
        array = (colours * white).round().astype(array.dtype)
    return np.dstack([array, np.asarray(alpha).astype(array.dtype) * (white // 255)])


def _save_png(array: np.ndarray, path: str, text: str) -> None:
    info = PngInfo()
    if text:
        info.add_text(KEY, text)
    Image.fromarray(array).save(path, "PNG", pnginfo=info)


def _save_16_bit_png(array: np.ndarray, path: str, text: str) -> None:
    """Write 16 bits per channel with FFmpeg's encoder, which comes with PyAV; Pillow has none.

    The text goes directly after the header.
    """
    from av import CodecContext, VideoFrame  # takes half a second, and few runs need it

    encoder = CodecContext.create("png", "w")
    encoder.height, encoder.width, channels = array.shape
    encoder.pix_fmt = "rgb48be" if channels == 3 else "rgba64be"
    encoder.time_base = encoder.sample_aspect_ratio = Fraction(1)
    frame = VideoFrame.from_ndarray(array, format=encoder.pix_fmt)
    data = b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    header = 8 + 25  # bytes: the signature, and the chunk IHDR
    text_chunk = _png_chunk(b"tEXt", KEY.encode() + b"\0" + text.encode()) if text else b""
    Path(path).write_bytes(data[:header] + text_chunk + data[header:])


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file: the content's length, the kind, the content, and a checksum of the last two."""
    return len(content).to_bytes(4, "big") + kind + content + crc32(kind + content).to_bytes(4, "big")


def _save_tiff(array: np.ndarray, path: str, text: str) -> None:
    from tifffile import imwrite  # writes 16 bits per channel, which Pillow does not

    alpha = {"extrasamples": ["unassalpha"]} if array.shape[2] == 4 else {}
    imwrite(path, array, photometric="rgb", compression="zlib", predictor=True, description=text or None,
            metadata=None, software=False, **alpha)  # fmt: skip
