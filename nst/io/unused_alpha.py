"""Find alpha channels that say nothing about opacity: padding bytes, and selections that an editor saved.

PNG, WebP, AVIF and TIFF declare what their fourth channel is. In these older formats, it is often just there.
"""

import io
import struct

from PIL import Image

FORMATS = ("BMP", "DIB", "CUR", "ICO", "TGA", "DDS")  # in which programs leave the fourth byte zero, as Windows does
TGA_FOOTER = b"TRUEVISION-XFILE.\0"
USEFUL_ALPHA = (3, 4)  # values of TGA's attributes type: an alpha, and a premultiplied alpha


def drop_unused_alpha(image: Image.Image, is_declared_unused: bool) -> Image.Image:
    """Return a loaded image without its alpha channel if that is declared unused, or zero everywhere in `FORMATS`.

    A picture that is transparent everywhere would be no picture; browsers show such BMP and ICO files opaque.
    """
    if not image.mode.endswith("A") or len(image.mode) < 2:
        return image
    if is_declared_unused or (image.format in FORMATS and image.getchannel("A").getextrema()[1] == 0):
        return image.convert("L" if image.mode == "LA" else "RGB")
    return image


def declares_alpha_unused(image: Image.Image) -> bool:
    """Return whether the file of an image that is not loaded yet says that its fourth channel is no opacity."""
    read = {"TGA": _tga_has_no_alpha, "PSD": _psd_has_no_opacity}.get(image.format)
    if not read or not getattr(image, "fp", None):
        return False
    position = image.fp.tell()
    try:
        return read(image.fp)
    finally:
        image.fp.seek(position)


def _tga_has_no_alpha(file: io.BufferedIOBase) -> bool:
    """Return whether the descriptor counts no alpha bits, or the extension area says that they mean nothing."""
    file.seek(17)
    if file.read(1)[0] & 15 == 0:
        return True
    file.seek(-26, io.SEEK_END)
    extension, _, footer = struct.unpack("<2I18s", file.read(26))
    if footer != TGA_FOOTER or not extension:
        return False
    file.seek(extension + 494)
    kind = file.read(1)
    return bool(kind) and kind[0] not in USEFUL_ALPHA


def _psd_has_no_opacity(file: io.BufferedIOBase) -> bool:
    """Return whether the fourth channel is a saved selection: only a negative number of layers makes it the opacity."""
    file.seek(26)
    for _ in range(2):  # the sections of colour mode data and of resources
        file.seek(*struct.unpack(">I", file.read(4)), io.SEEK_CUR)
    section, layers = struct.unpack(">2I", file.read(8))
    count = struct.unpack(">h", file.read(2))[0] if section and layers else 0
    return count >= 0
