"""The paintings and regions of the command line: `STYLE[:WEIGHT]` and `MASK[:PART[:PAINTING[:WEIGHT]]]`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nst.errors import StyleTransferError

if TYPE_CHECKING:  # it waits for torch
    from nst.pictures import Style

REGION = "MASK[:PART[:PAINTING[:WEIGHT]]]"


@dataclass(frozen=True)
class NamedStyle:
    """A painting's file and its weight, and the files of its mask and its part; None where there is none."""

    picture: str
    weight: float = 1.0
    mask: str | None = None
    part: str | None = None

    @property
    def files(self) -> list[str]:
        """All its files."""
        return [file for file in (self.picture, self.mask, self.part) if file]


def split_weight(text: str) -> NamedStyle:
    """Split `a.jpg:0.5` into a picture and its weight; a file with a colon in its name is still found."""
    path, _, weight = text.rpartition(":")
    if os.path.exists(text) or not path:
        return NamedStyle(text)
    try:
        return NamedStyle(path, float(weight))
    except ValueError:
        return NamedStyle(text)


def name_styles(paintings: Sequence[str], regions: Sequence[str]) -> list[NamedStyle]:
    """Return the styles that the texts of STYLE and --region ask for, without the masks of the rest: see `load_all`.

    A region without a painting takes the first one; one without a mask is everywhere, or where no other region is.

    Raises StyleTransferError for a text that is no region.
    """
    styles = [split_weight(text) for text in paintings]
    named = [_split_region(text, styles[0]) for text in regions]
    used = {os.path.realpath(style.picture) for style in named}
    return named + [style for style in styles if os.path.realpath(style.picture) not in used]


def load_all(named: Sequence[NamedStyle]) -> "list[Style]":
    """Return the styles with their pictures loaded. With regions, those without a mask paint what no region covers.

    Raises StyleTransferError for a picture that cannot be used.
    """
    from nst.pictures import Style, load_style_files, uncovered

    styles = [load_style_files(Style(style.picture, style.weight, style.mask, style.part)) for style in named]
    masks = []
    for style, files in zip(styles, named, strict=True):
        if style.mask is not None:
            masks.append(style.mask.convert("L"))
            if masks[-1].getextrema()[1] == 0:
                raise StyleTransferError(f"{files.mask}: this mask is black; it must be white where to paint.")
    if not masks or len(masks) == len(styles):
        return styles
    rest = uncovered(masks)
    return [style if style.mask is not None else replace(style, mask=rest) for style in styles]


def _split_region(text: str, first: NamedStyle) -> NamedStyle:
    fields = _split_files(text)
    weight = first.weight if len(fields) < 3 or not fields[2] else 1.0
    try:
        weight = float(fields.pop()) if len(fields) == 4 else weight
    except ValueError:
        fields = []
    if not any(fields[:2]) or len(fields) > 3:
        raise StyleTransferError(f"--region must be {REGION}, three files and a number, not {text!r}.")
    mask, part, picture = [*fields, "", ""][:3]
    return NamedStyle(picture or first.picture, weight, mask or None, part or None)


def _split_files(text: str) -> list[str]:
    """Split at colons, but not within the names of files that are there."""
    pieces, fields = text.split(":"), []
    while pieces:
        names = [":".join(pieces[:count]) for count in range(len(pieces), 1, -1)]
        field = next((name for name in names if os.path.isfile(name)), pieces[0])
        fields.append(field)
        pieces = pieces[field.count(":") + 1 :]
    return fields
