"""Results as files: lossless, with 8 or 16 bits a channel, with the photo's transparency, and with their recipe."""

import os
from fractions import Fraction
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nst.errors import StyleTransferError
from nst.io.files import write_atomically
from nst.output.recipe import KEY, PaintingRecipe
from nst.stylization import Step


def unrounded(step: Step) -> np.ndarray:
    """The picture of a run's last step as it was painted: (H, W, 3) float32 in [0, 1], of `step.image`'s size.

    Raises StyleTransferError for any other step.
    """
    if step.state is None or step.image is None:
        raise StyleTransferError("Only the last step of a run has the unrounded picture.")
    channels = [Image.fromarray(channel) for channel in step.state.arrays["pixels"][0]]
    if channels[0].size != step.image.size:  # stopped in a coarse stage: scaled up as `stylize` does
        channels = [one.resize(step.image.size, Image.Resampling.BICUBIC) for one in channels]
    return np.stack([np.asarray(one) for one in channels], axis=2).clip(0, 1)


def save_result(
    picture: Image.Image | np.ndarray,
    path: str | os.PathLike,
    recipe: PaintingRecipe | None = None,
    *,
    opacity: Image.Image | None = None,
) -> Path:
    """Write a result; PNG and TIFF are lossless and carry the recipe.

    picture: an RGB image, written with 8 bits a channel; or (H, W, 3) float in [0, 1], as `unrounded` gives it, written
    with 16. opacity: mode L, of any size, becomes the alpha channel, as `load_with_opacity` gives it for the photo.

    Other formats that Pillow writes take an image only, and leave the recipe out.

    Raises StyleTransferError if the format cannot hold that, or the file cannot be written.
    """
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in ("PNG", "TIFF"):
        if kind not in Image.SAVE or not isinstance(picture, Image.Image) or opacity is not None:
            raise StyleTransferError(f"{path.name}: this cannot be written in that format; use .png or .tif.")
        return write_atomically(path, picture.save)
    array = _as_integers(picture)
    if opacity is not None:
        # Not Lanczos, which overshoots: what is opaque up to an edge must stay so.
        alpha = np.asarray(opacity.resize(array.shape[1::-1], Image.Resampling.BILINEAR)).astype(array.dtype)
        array = np.dstack([array, alpha * (np.iinfo(array.dtype).max // 255)])
    text = "" if recipe is None else recipe.to_json()
    save = _save_tiff if kind == "TIFF" else _save_png if array.dtype == np.uint8 else _save_deep_png
    return write_atomically(path, lambda temporary: save(array, temporary, text))


def _as_integers(picture: Image.Image | np.ndarray) -> np.ndarray:
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    return (picture.clip(0, 1) * np.float32(65535)).round().astype(np.uint16)


def _save_png(array: np.ndarray, path: str, text: str) -> None:
    info = PngInfo()
    if text:
        info.add_text(KEY, text)
    Image.fromarray(array).save(path, "PNG", pnginfo=info)


def _save_deep_png(array: np.ndarray, path: str, text: str) -> None:
    """16 bits: FFmpeg's encoder, which comes with PyAV, since Pillow has none; the text goes after the header."""
    from av import CodecContext, VideoFrame  # half a second, for the few who ask for it

    encoder = CodecContext.create("png", "w")
    encoder.height, encoder.width, channels = array.shape
    encoder.pix_fmt = "rgb48be" if channels == 3 else "rgba64be"
    encoder.time_base = encoder.sample_aspect_ratio = Fraction(1)
    frame = VideoFrame.from_ndarray(array, format=encoder.pix_fmt)
    data = b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    header = 8 + 25  # the signature, and IHDR with its length, name and checksum
    chunk = b"tEXt" + KEY.encode() + b"\0" + text.encode() if text else b""
    chunk = chunk and (len(chunk) - 4).to_bytes(4, "big") + chunk + crc32(chunk).to_bytes(4, "big")
    Path(path).write_bytes(data[:header] + chunk + data[header:])


def _save_tiff(array: np.ndarray, path: str, text: str) -> None:
    from tifffile import imwrite  # which has 16 bits; Pillow has not

    alpha = {"extrasamples": ["unassalpha"]} if array.shape[2] == 4 else {}
    imwrite(path, array, photometric="rgb", compression="zlib", predictor=True, description=text or None,
            metadata=None, software=False, **alpha)  # fmt: skip
