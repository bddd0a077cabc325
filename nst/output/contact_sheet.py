"""Contact sheets: a labelled table of pictures as one picture, and its file.

This module does not import torch.
"""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from nst.errors import StyleTransferError, one_line
from nst.io.files import write_atomically
from nst.io.reading import PictureLike, load_picture, open_picture
from nst.io.sizes import fitted_size

KEY = "nst-contact-sheet"  # the name of the PNG text chunk that marks a sheet and tells what it shows
MAX_SIDE = 4096  # px of the whole sheet
CELL_SIDE, SMALLEST_CELL = 320, 40  # px: nobody can compare pictures in smaller cells
GAP = 12  # px between cells, and around the sheet
FONT_SIZE = 18  # px
LINE = 24  # px: the height of a line of text
FOOTER = LINE + GAP  # px: the height of the last line
LONGEST_NAME = 220  # px: the width of a row's name beside the row, where the row has no picture
MOST_LINES = (MAX_SIDE - FOOTER - 3 * GAP - LONGEST_NAME) // (SMALLEST_CELL + LINE + GAP)  # rows or columns: 50
COLOURS = {False: ("white", "#202020", "#d0d0d0"), True: ("#1b1b1b", "#e8e8e8", "#505050")}  # ground, text, frames


@dataclass(frozen=True)
class Heading:
    """The heading of a row or a column: a name, and a picture above it where there is one."""

    name: str
    picture: PictureLike | None = None


def contact_sheet(
    cells: Sequence[Sequence[PictureLike | None]],
    rows: Sequence[Heading],
    columns: Sequence[Heading],
    *,
    cell_side: int = CELL_SIDE,
    is_dark: bool = False,
) -> Image.Image:
    """Return a table of pictures as one RGB picture, at most `MAX_SIDE` px on each side.

    cells: one list for each row. A cell is a path or a PIL image, of any shape; None, and a file that cannot be read,
    is an empty frame. Pictures are made smaller to fit, never larger. Long names are shortened in their middle.
    cell_side: the long side of a cell in px, 40 to 1024; it gets smaller where the sheet would be too large.
    is_dark: dark ground instead of white.

    Where even the smallest cells do not fit, the last rows or columns are left out, and a line below says how many.

    Raises StyleTransferError for a table without cells.
    """
    if not rows or not columns:
        raise StyleTransferError("A contact sheet needs at least one row and one column.")
    left_out = _left_out(len(rows) - MOST_LINES, len(columns) - MOST_LINES)
    rows, columns = rows[:MOST_LINES], columns[:MOST_LINES]
    side = min(cell_side, _largest_cell(len(rows), columns), _largest_cell(len(columns), rows))
    # The first row and the first column hold the headings. All pictures are small from here on.
    table = [[None, *(_thumbnail(heading.picture, side) for heading in columns)]]
    for heading, pictures in zip(rows, cells, strict=False):
        table.append([_thumbnail(picture, side) for picture in (heading.picture, *pictures[: len(columns)])])
    return _Table(table, [x.name for x in rows], [x.name for x in columns]).draw(left_out, *COLOURS[is_dark])


def _largest_cell(count: int, across: Sequence[Heading]) -> int:
    """Return the side of cells of which `count` fit beside each other. across: the headings that stand before them."""
    has_pictures = any(heading.picture is not None for heading in across)
    free = MAX_SIDE - FOOTER - 3 * GAP - (0 if has_pictures else LONGEST_NAME)
    return max(SMALLEST_CELL, free // (count + has_pictures) - GAP - LINE)


def _thumbnail(picture: PictureLike | None, side: int) -> Image.Image | None:
    """Return the picture with a long side of at most `side` px; None if there is none, or it cannot be read."""
    try:
        image = None if picture is None else load_picture(picture)
    except StyleTransferError:
        return None
    if image is None or max(image.size) <= side:
        return image
    return image.resize(fitted_size(image.size, side), Image.Resampling.LANCZOS)


def _left_out(rows: int, columns: int) -> str:
    """Return a line that says how many rows and columns are not shown; empty if all are."""
    parts = [f"{count} more {kind}" for count, kind in ((rows, "rows"), (columns, "columns")) if count > 0]
    return f"Not shown: {' and '.join(parts)}" if parts else ""


class _Table:
    """The places of pictures and names on a sheet. A row and a column are as large as the largest picture in them.

    pictures: by row and column, those of the headings first. rows, columns: the names.
    """

    def __init__(self, pictures: list[list[Image.Image | None]], rows: list[str], columns: list[str]):
        self.font = ImageFont.load_default(FONT_SIZE)
        self.pictures, self.rows, self.columns = pictures, rows, columns
        self.rows_have_pictures = any(row[0] for row in pictures)
        self.widths = [max([SMALLEST_CELL, *(x.width for x in row if x)]) for row in zip(*pictures, strict=True)]
        self.heights = [max([SMALLEST_CELL, *(x.height for x in row if x)]) for row in pictures]
        if not any(pictures[0]):
            self.heights[0] = 0
        if not self.rows_have_pictures:
            self.widths[0] = min(LONGEST_NAME, max(round(self.font.getlength(name)) for name in rows))
        below = [LINE, *[LINE * self.rows_have_pictures] * len(rows)]  # the names under the pictures of a row
        self.lefts, self.width = _places(self.widths)
        self.tops, self.height = _places([sum(lengths) for lengths in zip(self.heights, below, strict=True)])

    def draw(self, footer: str, ground: str, ink: str, frame: str) -> Image.Image:
        """Return the sheet. footer: a line below the table, or empty. The others are colours."""
        sheet = Image.new("RGB", (self.width, self.height + FOOTER * bool(footer)), ground)
        draw = ImageDraw.Draw(sheet)
        for top, height, pictures in zip(self.tops, self.heights, self.pictures, strict=True):
            for left, width, picture in zip(self.lefts, self.widths, pictures, strict=True):
                if picture:
                    sheet.paste(picture, (left + (width - picture.width) // 2, top + (height - picture.height) // 2))
                elif left > self.lefts[0] and top > self.tops[0]:
                    draw.rectangle((left, top, left + width - 1, top + height - 1), outline=frame)
        for number, name in enumerate(self.columns, 1):
            self._write_under(draw, name, 0, number, ink)
        for number, name in enumerate(self.rows, 1):
            if self.rows_have_pictures:
                self._write_under(draw, name, number, 0, ink)
            else:
                place = self.lefts[0] + self.widths[0], self.tops[number] + self.heights[number] // 2
                self._write(draw, name, self.widths[0], place, "rm", ink)
        self._write(draw, footer, self.width - 2 * GAP, (GAP, self.height), "lt", ink)
        return sheet

    def _write_under(self, draw: ImageDraw.ImageDraw, name: str, row: int, column: int, ink: str) -> None:
        """Write a heading's name under its picture."""
        picture, height, width = self.pictures[row][column], self.heights[row], self.widths[column]
        end = (height + picture.height) // 2 if picture else height
        place = self.lefts[column] + width // 2, self.tops[row] + end + LINE // 2 + 2
        self._write(draw, name, width, place, "mm", ink)

    def _write(
        self, draw: ImageDraw.ImageDraw, text: str, width: int, place: tuple[int, int], anchor: str, ink: str
    ) -> None:
        draw.text(place, shorten(text, self.font, width), ink, self.font, anchor)


def _places(lengths: Sequence[int]) -> tuple[list[int], int]:
    """Return where things of these lengths begin if gaps are between and around them, and where the last gap ends."""
    ends = list(itertools.accumulate([length + GAP for length in lengths], initial=GAP))
    return ends[:-1], ends[-1]


def shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return the text, or its beginning and its end with an ellipsis between them, at most `width` px wide."""
    text = one_line(text)
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        end = kept // 2
        shorter = f"{text[: kept - end]}…{text[len(text) - end :]}"
        if font.getlength(shorter) <= width:
            return shorter
    return "…"


def save_sheet(sheet: Image.Image, path: str | os.PathLike, contents: str) -> Path:
    """Write a sheet as a PNG file, and return its path. contents: tells what it shows, for `contents_of`.

    Raises StyleTransferError if the file cannot be written.
    """
    info = PngInfo()
    info.add_text(KEY, contents)
    return write_atomically(path, lambda temporary: sheet.save(temporary, "PNG", pnginfo=info))


def contents_of(path: str | os.PathLike) -> str | None:
    """Return what `save_sheet` wrote beside the sheet, or None for any other file, or none."""
    try:
        with open_picture(path) as image:
            contents = image.info.get(KEY)
    except StyleTransferError:
        return None
    return contents if isinstance(contents, str) else None
