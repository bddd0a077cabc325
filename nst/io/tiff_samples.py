"""Decode the samples of a TIFF page with tifffile, strip by strip, to 8 bits."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nst.errors import StyleTransferError
from nst.io.depth import find_extremes, map_rows, row_blocks, scale_rows, white_level

if TYPE_CHECKING:
    from tifffile import TiffPage

ZERO_IS_WHITE, ZERO_IS_BLACK, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6  # photometrics
MODES = {ZERO_IS_WHITE: "L", ZERO_IS_BLACK: "L", RGB: "RGB", PALETTE: "RGB", CMYK: "CMYK", YCBCR: "YCbCr"}
COLOURS = {ZERO_IS_WHITE: 1, ZERO_IS_BLACK: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}  # samples in each position
ASSOCIATED, UNASSOCIATED = 1, 2  # kinds of extra samples that are an alpha; a sample may be anything else too
EXTRA_SAMPLES, COEFFICIENTS, BLACK_WHITE = 338, 529, 532  # tags
# tifffile has decoders for many more, which hardly any picture needs and which strangers' files should not reach.
COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32773: "PackBits", 32946: "deflate", 50000: "zstd"}
BLOCK_BYTES = 1 << 30  # a strip or tile that is larger once decoded would need too much memory


def read_samples(page: "TiffPage", name: str) -> tuple[Image.Image, Image.Image | None]:
    """Return a page's picture in mode L, RGB, CMYK or YCbCr, and its opacity in mode L or None.

    Messages call the picture `name`. Raises StyleTransferError for an unusual kind of TIFF and for integers below zero,
    ValueError if a strip is missing, and what tifffile raises for a damaged one.
    """
    _check_kind(page, name)
    channel, kind = find_alpha(page)
    if page.photometric == PALETTE:
        pixels, channel = _decode(page, [0], _palette(page), 3), None
    else:
        kept = [*range(COLOURS[page.photometric]), *([] if channel is None else [channel])]
        pixels = _decode(page, kept, _scale(page, name), len(kept))
    if channel is not None and kind == ASSOCIATED:
        map_rows(_divide_by_alpha, pixels, pixels)
    mode = MODES[page.photometric]
    if page.photometric == ZERO_IS_WHITE:
        np.subtract(255, pixels[..., :1], out=pixels[..., :1])
    colours = pixels[..., 0] if mode == "L" else pixels if channel is None else pixels[..., :-1]
    opacity = None if channel is None else Image.fromarray(np.ascontiguousarray(pixels[..., -1]))
    return Image.fromarray(np.ascontiguousarray(colours), mode), opacity


def find_alpha(page: "TiffPage") -> tuple[int | None, int]:
    """Return the channel that is an alpha, or None, and its kind: ASSOCIATED (premultiplied) or UNASSOCIATED."""
    first = COLOURS[page.photometric]
    kinds = page.tags.valueof(EXTRA_SAMPLES, default=())
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not kinds and page.photometric == RGB and page.samplesperpixel == 4:
        return first, UNASSOCIATED  # many programs leave the tag out
    found = ((first + i, int(kind)) for i, kind in enumerate(kinds) if kind in (ASSOCIATED, UNASSOCIATED))
    return next(((i, kind) for i, kind in found if i < page.samplesperpixel), (None, 0))


def _check_kind(page: "TiffPage", name: str) -> None:
    """Raise StyleTransferError unless this module can decode the page."""
    is_readable = (
        page.compression in COMPRESSIONS
        and page.photometric in COLOURS
        and page.samplesperpixel >= COLOURS[page.photometric]
        and page.dtype is not None
        and page.dtype.kind in "buif"
        and (page.photometric != PALETTE or page.dtype.kind == "u")
        and (page.photometric != YCBCR or _is_plain_ycbcr(page))
    )
    if not is_readable:
        raise unusual_kind(name)
    if int(np.prod(page.chunks, dtype=float)) * page.dtype.itemsize > BLOCK_BYTES:
        raise StyleTransferError(f"{name}: its strips or tiles are too large; save it with smaller ones.")


def unusual_kind(name: str) -> StyleTransferError:
    """Return the error for a TIFF file that neither Pillow nor this module decodes."""
    return StyleTransferError(
        f"{name}: an unusual kind of TIFF that cannot be read; save it as RGB with 8 or 16 bits first."
    )


def _is_plain_ycbcr(page: "TiffPage") -> bool:
    """Return whether the samples are those of JPEG: 8 bits, as many of colour as of luma, usual weights and range."""
    usual = page.subsampling in (None, (1, 1)) and not {COEFFICIENTS, BLACK_WHITE} & set(page.tags.keys())
    return usual and page.dtype == np.uint8 and page.samplesperpixel == 3


def _decode(page: "TiffPage", kept: list[int], convert: Callable, channels: int) -> np.ndarray:
    """Return the channels `kept` as (H, W, channels) uint8. `convert(samples, result)` writes samples in 8 bits."""
    pixels = np.zeros((page.imagelength, page.imagewidth, channels), np.uint8)
    for samples, plane, row, column in _blocks(page):
        target = pixels[row : row + samples.shape[0], column : column + samples.shape[1]]
        samples = samples[: target.shape[0], : target.shape[1]]
        if page.planarconfig == 1 or page.samplesperpixel == 1:
            convert(samples[..., kept] if samples.shape[2] > len(kept) else samples, target)
        elif plane in kept:
            index = kept.index(plane)
            convert(samples, target[..., index : index + 1])
    return pixels


def _blocks(page: "TiffPage") -> Iterator[tuple[np.ndarray, int, int, int]]:
    """Yield the (H, W, channels) samples of every strip or tile, with its plane, first row and first column."""
    for samples, (plane, depth, row, column, _), _ in page.segments(maxworkers=1):
        if samples is None:
            raise ValueError("a strip is missing")
        if depth == 0:
            yield samples[0], plane, row, column


def _scale(page: "TiffPage", name: str) -> Callable:
    """Return a function that writes samples in 8 bits.

    Raises StyleTransferError for integers below zero: nothing says which shade they are.
    """
    bits, white = page.bitspersample, None
    if page.dtype.kind == "u" and bits <= 16:
        white = white_level(page.dtype, bits, 0)
    else:
        extremes = [find_extremes(rows) for samples, *_ in _blocks(page) for rows in row_blocks(samples)]
        lowest, highest = min(low for low, _ in extremes), max(high for _, high in extremes)
        if page.dtype.kind == "i" and lowest < 0:
            raise StyleTransferError(f"{name}: it has values below zero; save it with unsigned integers first.")
        white = white_level(page.dtype, bits, highest)
    return lambda samples, result: scale_rows(samples, result, white)


def _palette(page: "TiffPage") -> Callable:
    """Return a function that writes the colours of samples, which are places in the page's palette."""
    palette = (np.asarray(page.colormap) >> 8).astype(np.uint8).T
    return lambda samples, result: map_rows(lambda rows: palette[rows[..., 0]], samples, result)


def _divide_by_alpha(rows: np.ndarray) -> np.ndarray:
    """Return uint8 rows whose last channel is an alpha, with the other channels divided by it."""
    alpha = np.maximum(rows[..., -1:], 1)
    colours = (rows[..., :-1] * (255 / alpha)).round().clip(0, 255)
    return np.concatenate([colours, rows[..., -1:]], -1)
