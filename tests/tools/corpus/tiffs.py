"""TIFF files over bit depth, layout, photometric, alpha, compression, sample format, pages and byte order.

Each comes with the picture that it shows.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from helpers.tiff_files import TiffPage, tiff
from tools.corpus.case import PICTURE, REFUSED, Entry, Variant
from tools.corpus.formats import picture

WIDTH, HEIGHT = 40, 24
TYPES = ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")
THUMBNAIL, FULL, MASK = (((254, 4, (kind,)),) for kind in (1, 0, 4))  # the tag NewSubfileType


def tiff_files() -> Iterator[Entry]:
    """Yield a part of the variants for the corpus, which is read in many ways: `tests/test_tiff.py` reads all."""
    for variant in (*list(sample_variants())[::7], *list(page_variants())[::3]):
        yield variant.name, variant.data, REFUSED if variant.shown is None else PICTURE


def sample_variants() -> Iterator[Variant]:
    """Yield one small page with each kind of samples, in both byte orders and in every compression."""
    for name, page, shown in _sample_pages():
        for order, word in (("<", "little"), (">", "big")):
            yield Variant(f"{name}-{word}.tif", tiff(page, order=order), shown)
        for compression in ("lzw", "deflate", "packbits", "jpeg"):
            if compression != "jpeg" or _fits_jpeg(page):
                yield Variant(f"{name}-{compression}.tif", tiff(replace(page, compression=compression)), shown)


def page_variants() -> Iterator[Variant]:
    """Yield files with several pages, thumbnails, masks, SubIFDs and a camera's raw data."""
    for kind, photometric, planar in (("u1", "rgb", False), ("u2", "rgb", True), ("u2", "miniswhite", False)):
        full, shown = make_page(kind, photometric, planar=planar)
        other = replace(full, samples=full.samples[::-1])
        small = replace(full, samples=full.samples[::2, ::2])
        raw = TiffPage(full.samples[..., :1].copy(), "cfa", tags=FULL)
        preview = replace(full, tags=THUMBNAIL)
        tiny = replace(small, tags=THUMBNAIL)
        mask = TiffPage(np.ones((HEIGHT, WIDTH, 1), np.uint8), "minisblack", bits=1, tags=MASK)
        arrangements = {
            "one": ((full,), shown), "several": ((full, other, other), shown), "raw-second": ((small, raw), None),
            "thumbnail-first": ((tiny, full, other), shown), "thumbnail-unmarked": ((small, full), shown),
            "thumbnail-last": ((full, tiny), shown), "mask-first": ((mask, full), shown),
            "subifd": ((replace(tiny, children=(replace(full, tags=FULL),)),), shown),
            "subifd-unmarked": ((replace(small, children=(full,)),), shown),
            "pyramid": ((replace(full, children=(tiny,)),), shown),
            "raw-and-preview": ((replace(tiny, children=(raw, preview)),), shown),
            "raw-alone": ((raw,), None), "raw-and-thumbnail": ((replace(tiny, children=(raw,)),), None),
            "only-a-thumbnail": ((preview,), shown),
        }  # fmt: skip
        for name, (pages, expected) in arrangements.items():
            for order, word in (("<", "little"), (">", "big")):
                layout = "planar" if planar else "together"
                yield Variant(
                    f"{name}-{kind}-{photometric}-{layout}-{word}-pages.tif", tiff(*pages, order=order), expected
                )


def _fits_jpeg(page: TiffPage) -> bool:
    return page.samples.dtype == np.uint8 and not (page.bits or page.extra or page.photometric in ("palette", "ycbcr"))


def _sample_pages() -> Iterator[tuple[str, TiffPage, np.ndarray]]:
    for kind in TYPES:
        for planar in (False, True):
            for photometric in ("miniswhite", "minisblack", "rgb", "cmyk"):
                for extra in (None, "associated", "unassociated", "unspecified"):
                    page, shown = make_page(kind, photometric, extra, planar)
                    if not planar or page.samples.shape[2] > 1:
                        layout = "planar" if planar else "together"
                        yield f"{kind}-{photometric}-{extra or 'opaque'}-{layout}", page, shown
    for bits in (1, 2, 4):
        for photometric in ("miniswhite", "minisblack", "palette", "rgb"):
            page, shown = _few_bits(bits, photometric)
            yield f"bits{bits}-{photometric}", page, shown
    page, shown = _few_bits(8, "palette")
    yield "bits8-palette", page, shown
    page, shown = _few_bits(16, "palette")
    yield "bits16-palette", page, shown
    for planar in (False, True):
        samples = np.asarray(picture(WIDTH, HEIGHT).convert("YCbCr"))
        tags = ((530, 3, (1, 1)),)
        page = TiffPage(samples, "ycbcr", planar=planar, tags=tags)
        yield f"ycbcr-{'planar' if planar else 'together'}", page, reference()


def reference(mode: str = "RGB") -> np.ndarray:
    """Return the picture that most files show, (H, W, 3) in [0, 255]."""
    return np.asarray(picture(WIDTH, HEIGHT).convert(mode).convert("RGB")).astype(float)


def make_page(
    kind: str, photometric: str, extra: str | None = None, planar: bool = False
) -> tuple[TiffPage, np.ndarray]:
    """Return a page with samples of numpy's type `kind`, and the picture that it shows, (H, W, 3) in [0, 255]."""
    shown = reference("L" if photometric.startswith("minis") else "RGB")
    light = shown / 255
    if photometric == "cmyk":
        black = 1 - light.max(2, keepdims=True)
        parts = np.concatenate([1 - light / np.maximum(light.max(2, keepdims=True), 1e-6), black], 2)
    elif photometric == "rgb":
        parts = light
    else:
        parts = light[..., :1] if photometric == "minisblack" else 1 - light[..., :1]
    if extra:
        alpha = np.linspace(0.2, 1, WIDTH)[None, :, None].repeat(HEIGHT, 0)
        if extra == "associated":
            parts = parts * alpha
        if extra != "unspecified":
            shown = shown * alpha + 255 * (1 - alpha)
        parts = np.concatenate([parts, alpha], 2)
    dtype = np.dtype(kind)
    white = 1 if dtype.kind == "f" else np.iinfo(dtype).max
    samples = (parts * white).astype(dtype) if white == 1 else (parts * white).round().clip(0, white).astype(dtype)
    return TiffPage(samples, photometric, planar=planar, extra=extra), shown


def _few_bits(bits: int, photometric: str) -> tuple[TiffPage, np.ndarray]:
    top = 2**bits - 1
    dtype = np.uint16 if bits == 16 else np.uint8
    if photometric == "rgb":
        samples = (reference() / 255 * top).round().astype(dtype)
        return TiffPage(samples, "rgb", bits=bits), samples * 255.0 / top
    samples = (reference("L")[..., :1] / 255 * top).round().astype(dtype)
    if photometric == "palette":
        ramp = np.linspace(0, 65535, 2**bits).astype(np.uint16)
        palette = np.stack([ramp, ramp[::-1], ramp // 2])
        return TiffPage(samples, photometric, bits=bits, palette=palette), palette[:, samples[..., 0]].transpose(
            1, 2, 0
        ) / 257.0
    shown = samples.repeat(3, 2) * 255.0 / top
    return TiffPage(samples, photometric, bits=bits), 255 - shown if photometric == "miniswhite" else shown
