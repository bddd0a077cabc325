"""Hostile and odd files, made anew from a seed: files that strangers upload, on purpose or by accident.

`make_corpus(folder)` writes them. It says of each file whether it is a picture, must be refused, or may be either: a
flipped bit may be one that no reader looks at. The private metadata in them consists of the words in `SECRETS`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tools.corpus.bombs import bomb_files, largest, size_files
from tools.corpus.case import EITHER, MARK, PICTURE, REFUSED, SECRETS, Case, Entry
from tools.corpus.formats import handmade_pictures, unreadable_formats, valid_pictures
from tools.corpus.metadata import metadata_files, profile_files
from tools.corpus.others import other_files, special_files
from tools.corpus.rasters import raster_files
from tools.corpus.tiffs import tiff_files

__all__ = ["EITHER", "MARK", "PICTURE", "REFUSED", "SECRETS", "Case", "largest", "make_corpus"]

CUTS = (0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 0.999)  # the fractions of a file that are left
CUT_FILES = ("rgb.png", "rgb.jpg", "rgb.webp", "rgb-lzw.tif", "animated.gif", "rgb.bmp", "rgb.avif", "rgb.jp2")
FLIPS = 10  # damaged copies of each file
FLIPPED_FILES = (
    "rgb.png", "rgb.jpg", "rgb.webp", "rgb-lzw.tif", "cmyk.tif", "animated.gif", "rgb.avif", "rgb.jp2", "palette.png",
    "rgb.ico", "rgb.icns", "rgb.tga", "rgb.dds", "animated.png",
)  # fmt: skip
WRONG_SUFFIXES = {
    "rgb.png": ".jpg", "rgb.jpg": ".png", "rgb.webp": ".gif", "animated.gif": ".txt", "rgb.bmp": ".heic",
    "rgb-lzw.tif": ".svg", "grey.jpg": "", "alpha.png": ".exe",
}  # fmt: skip


def make_corpus(folder: Path, seed: int = 0) -> list[Case]:
    """Write all files into `folder`: about 840, 20 MB."""
    cases = []
    for number, (name, data, expected) in enumerate(_files(np.random.default_rng(seed))):
        path = folder / f"{number:03}-{name}"
        path.write_bytes(data)
        cases.append(Case(path, expected))
    return cases + list(special_files(folder))


def _files(rng: np.random.Generator) -> Iterator[Entry]:
    valid = dict(valid_pictures())
    for name, data in (*valid.items(), *handmade_pictures()):
        yield name, data, PICTURE
    kinds = (unreadable_formats, metadata_files, profile_files, size_files, bomb_files, raster_files, tiff_files,
             other_files)  # fmt: skip
    for kind in kinds:
        yield from kind()
    for name in CUT_FILES:
        for fraction in CUTS if name in valid else ():
            start = valid[name][: int(len(valid[name]) * fraction)]
            # A longer start of an animation may hold its first picture.
            yield f"cut-{fraction}-{name}", start, REFUSED if fraction <= 0.2 else EITHER
    for name in FLIPPED_FILES:
        for number in range(FLIPS if name in valid else 0):
            yield f"flip-{number}-{name}", _flip_bits(valid[name], rng, number), EITHER
    for name, suffix in WRONG_SUFFIXES.items():
        yield f"called-otherwise-{name.replace('.', '-')}{suffix}", valid[name], PICTURE


def _flip_bits(data: bytes, rng: np.random.Generator, number: int) -> bytes:
    """Flip a few bits: for odd numbers anywhere, for even ones in the first 64 bytes, which hold the sizes."""
    changed = bytearray(data)
    for place in rng.integers(0, len(data) if number % 2 else min(64, len(data)), 1 + number):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)
