"""Open TIFF files: the page that is the picture, read by Pillow, or with tifffile where Pillow reads wrongly.

Pillow reads pictures of up to 8 bits whose samples lie together, and 16 bits of grey and RGB. The others are its gaps:
separate planes, 16 bits where zero is white, 32 and 64 bits, signed numbers, alpha beside grey or CMYK, and
uncompressed YCbCr. In some it finds another picture than the file's, without an error.
"""

import io
import logging
from typing import TYPE_CHECKING

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from nst.errors import StyleTransferError
from nst.io.profiles import to_srgb
from nst.io.tiff_pages import choose_page
from nst.io.tiff_samples import CMYK, COLOURS, RGB, YCBCR, ZERO_IS_BLACK, find_alpha, read_samples, unusual_kind

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
UNCOMPRESSED, TOGETHER, UNSIGNED = 1, 1, 1  # values of the tags for compression, planes and sample format
# None, CCITT (three), LZW, JPEG (two), deflate (two), PackBits, LZMA and zstd: Pillow's packages have no others.
PILLOW_COMPRESSIONS = {1, 2, 3, 4, 5, 6, 7, 8, 32946, 32773, 34925, 50000}
ORIENTATION, PROFILE = ExifTags.Base.Orientation, ExifTags.Base.InterColorProfile
MOST_EXTRA = 3  # samples beside red, green and blue that Pillow passes over
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else it prints what it finds odd in a file


def open_tiff(data: bytes, name: str) -> Image.Image:
    """Return the picture in a TIFF file, of which only the header is decoded yet. Messages call it `name`.

    Raises StyleTransferError for a raw photo without a developed picture and for an unusual kind of TIFF, and what
    Pillow raises for a damaged file.
    """
    from tifffile import TiffFile

    try:
        file = TiffFile(io.BytesIO(data))
        page, first = choose_page(file, name), file.pages[0]
        is_for_pillow = _pillow_reads(page)
    except StyleTransferError:
        raise
    except Exception as error:  # of many kinds, for a damaged directory, with which Pillow is more patient
        return _open_with_pillow(data, or_raise=error)
    if is_for_pillow and page.compression not in PILLOW_COMPRESSIONS:
        raise unusual_kind(name)
    if is_for_pillow:
        image = _open_with_pillow(_with_first_page(data, file, page), or_raise=unusual_kind(name))
    else:
        image = TiffPicture(file, page, name)
    image.info.pop("xmp", None)  # Pillow would turn the picture by it
    if ORIENTATION not in page.tags and page.offset in (first.subifds or ()):
        image.getexif()[ORIENTATION] = first.tags.valueof(ORIENTATION, default=1)  # a raw photo states it once
    return image


def _open_with_pillow(data: bytes, or_raise: Exception) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=["TIFF"])
    except UnidentifiedImageError as error:
        raise or_raise from error


def _pillow_reads(page: "TiffPage") -> bool:
    """Return whether Pillow reads a page rightly, or refuses it."""
    photometric, bits = page.photometric, page.bitspersample
    if photometric not in COLOURS:
        return True
    if photometric == YCBCR:
        return page.compression != UNCOMPRESSED
    if page.sampleformat != UNSIGNED or (page.planarconfig != TOGETHER and page.samplesperpixel > 1):
        return False
    extra = page.samplesperpixel - COLOURS[photometric]
    if photometric == RGB:
        return (bits == 8 and extra <= MOST_EXTRA) or (bits == 16 and extra <= 1)
    if extra:
        return photometric == CMYK and bits == 8 and find_alpha(page)[0] is None and extra < MOST_EXTRA
    return bits <= 8 or (bits == 16 and photometric in (ZERO_IS_BLACK, CMYK))


def _with_first_page(data: bytes, file: "TiffFile", page: "TiffPage") -> bytes:
    """Return the file with `page` as its first page: the header says where that lies."""
    place, size = (8, 8) if file.is_bigtiff else (4, 4)
    offset = page.offset.to_bytes(size, "little" if file.byteorder == "<" else "big")
    return data if data[place : place + size] == offset else data[:place] + offset + data[place + size :]


class TiffPicture(ImageFile.ImageFile):
    """A page as a Pillow image whose samples tifffile decodes."""

    format = "TIFF"
    format_description = "TIFF, read with tifffile"

    def __init__(self, file: "TiffFile", page: "TiffPage", name: str) -> None:
        self._page, self._name = page, name
        super().__init__(file.filehandle)

    def _open(self) -> None:
        self._size, self._mode = (self._page.imagewidth, self._page.imagelength), "RGB"
        if profile := self._page.tags.valueof(PROFILE):
            self.info["icc_profile"] = bytes(profile)
        if orientation := self._page.tags.valueof(ORIENTATION):
            self.getexif()[ORIENTATION] = orientation

    def load(self) -> object:
        if self._im is None:
            picture, opacity = read_samples(self._page, self._name)
            if opacity is not None:
                if picture.mode == "CMYK":  # which has no mode with an alpha
                    picture = to_srgb(picture, self.info.pop("icc_profile", None))
                picture.putalpha(opacity)
            self._mode, self.im = picture.mode, picture.im
        return Image.Image.load(self)
