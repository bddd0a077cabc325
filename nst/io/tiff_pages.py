"""Choose the page of a TIFF file that is the picture: not its thumbnail, not a mask, and not a raw photo's sensor data.

Cameras and editors put thumbnails into a page of their own, often before the picture, and the picture into a SubIFD,
which is a page that belongs to another page (TIFF Technical Note 1; DNG specification, chapter 2).
"""

import itertools
from typing import TYPE_CHECKING

from nst.errors import StyleTransferError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

RAW = (32803, 34892)  # photometrics of a DNG's undeveloped data: colour filter array, and linear raw
REDUCED, MASK = 1, 4  # bits of NewSubfileType
PAGES_AT_MOST = 100  # that are looked at; a file may have a million, or an endless circle of them
FULL_SIZE = 0.9  # of the sensor's long side; the developed picture lacks some rows and columns at the edges
THUMBNAIL_SIDE = 320  # px; a first page of at most this size may be a thumbnail although nothing says so


def choose_page(file: "TiffFile", name: str) -> "TiffPage":
    """Return the page or SubIFD that is the picture: the first page, unless that is a thumbnail, a mask or raw.

    Raises StyleTransferError if the file is a raw photo without a developed picture of its full size.
    """
    first, *others = list(itertools.islice(_all_pages(file), PAGES_AT_MOST))
    raw = [page for page in (first, *others) if int(page.photometric or 0) in RAW]
    if not raw and not _is_thumbnail(first, others):
        return first
    pictures = [page for page in (first, *others) if page not in raw and not page.subfiletype & MASK]
    if raw:
        smallest = FULL_SIZE * max(map(_long_side, raw))
        pictures = [page for page in pictures if _long_side(page) >= smallest]
        if not pictures:
            raise StyleTransferError(
                f"{name}: a raw photo without a full-size picture in it; develop it and save it as TIFF or JPEG first."
            )
    else:
        pictures = [page for page in pictures if not page.subfiletype & REDUCED] or pictures
    return max(pictures, key=_area, default=first)


def _all_pages(file: "TiffFile"):
    """Yield the first page, its SubIFDs, and the further pages with theirs. A page that cannot be read ends this."""
    for number in itertools.count():
        try:
            page = file.pages[number]
            yield page
            yield from page.pages or ()
        except Exception:  # tifffile raises errors of many kinds for a damaged directory
            if number == 0:
                raise
            return


def _is_thumbnail(first: "TiffPage", others: "list[TiffPage]") -> bool:
    if first.subfiletype & (REDUCED | MASK):
        return True
    if _long_side(first) > THUMBNAIL_SIDE:
        return False
    return any(_shows_the_same_larger(page, first) for page in others)


def _shows_the_same_larger(page: "TiffPage", small: "TiffPage") -> bool:
    """Return whether a page has at least twice the width of another, and the same shape within a pixel of the other."""
    if page.subfiletype & (REDUCED | MASK) or page.imagewidth < 2 * small.imagewidth:
        return False
    return abs(page.imagelength * small.imagewidth / page.imagewidth - small.imagelength) <= 1


def _long_side(page: "TiffPage") -> int:
    return max(page.imagewidth, page.imagelength)


def _area(page: "TiffPage") -> int:
    return page.imagewidth * page.imagelength
