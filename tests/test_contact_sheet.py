"""Contact sheets: what is where, that nothing is left out silently, and how large a sheet gets."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst.output.contact_sheet import (
    FONT_SIZE,
    GAP,
    LINE,
    MAX_SIDE,
    Heading,
    contact_sheet,
    contents_of,
    save_sheet,
    shorten,
)

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}


def plain(name: str, width: int = 60, height: int = 40) -> Image.Image:
    return Image.new("RGB", (width, height), COLOURS[name])


def box_of(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return the left, top, right and bottom of all pixels of a colour."""
    down, across = np.nonzero((np.asarray(sheet) == colour).all(2))
    assert len(down), "the colour is not on the sheet"
    return across.min(), down.min(), across.max() + 1, down.max() + 1


def ink(sheet: Image.Image, box: tuple[int, int, int, int]) -> int:
    """Return the number of dark pixels in a part of a sheet with white ground."""
    return int((np.asarray(sheet.crop(tuple(map(int, box)))).max(2) < 100).sum())


def test_every_picture_is_in_its_row_and_column_at_its_own_size():
    cells = [[plain("red"), plain("green")], [plain("blue", 30, 70), None]]
    sheet = contact_sheet(cells, [Heading("first"), Heading("second")], [Heading("left"), Heading("right")])
    red, green, blue = (box_of(sheet, COLOURS[name]) for name in ("red", "green", "blue"))
    assert (red[2] - red[0], red[3] - red[1]) == (60, 40) and (blue[2] - blue[0], blue[3] - blue[1]) == (30, 70)
    assert red[1] == green[1] and green[0] >= red[2] + GAP  # one row, two columns
    assert blue[1] >= red[3] + GAP and red[0] + red[2] == blue[0] + blue[2]  # below, and in the middle of the column
    assert ink(sheet, (red[0], 0, red[2], red[1])) > 20  # the names: above a column, and left of a row
    assert ink(sheet, (0, red[1], red[0], red[3])) > 20
    frame = np.asarray(sheet)[blue[1] : blue[3], green[0] : green[2]]
    assert (frame[5:-5, 5:-5] == 255).all() and (frame[:, 0] < 255).all()  # the empty cell


def test_the_pictures_of_headings_stand_before_their_rows_and_columns():
    sheet = contact_sheet([[plain("red")]], [Heading("photo", plain("green"))], [Heading("painting", plain("blue"))])
    red, green, blue = (box_of(sheet, COLOURS[name]) for name in ("red", "green", "blue"))
    assert green[1] == red[1] and green[2] + GAP == red[0]
    assert blue[0] == red[0] and blue[3] < red[1]
    assert ink(sheet, (green[0], green[3], green[2], green[3] + LINE)) > 20  # names under both
    assert ink(sheet, (blue[0], blue[3], blue[2], blue[3] + LINE)) > 20


def test_a_dark_sheet_is_dark_and_a_white_one_is_white():
    table = [[plain("red")]], [Heading("a")], [Heading("b")]
    assert contact_sheet(*table).getpixel((0, 0)) == (255, 255, 255)
    assert max(contact_sheet(*table, is_dark=True).getpixel((0, 0))) < 60


def test_a_cell_may_be_a_file_and_one_that_cannot_be_read_is_empty(tmp_path):
    plain("red", 400, 100).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    cells = [[tmp_path / "a.png", str(tmp_path / "b.png"), tmp_path / "missing.png"]]
    sheet = contact_sheet(cells, [Heading("row")], [Heading(name) for name in "abc"], cell_side=80)
    left, top, right, bottom = box_of(sheet, COLOURS["red"])
    assert (right - left, bottom - top) == (80, 20)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 40), (40, 1), (12, 12), (45, 45), (3, 200), (200, 3)])
@pytest.mark.parametrize("with_pictures", [False, True])
def test_no_sheet_is_too_large(rows, columns, with_pictures):
    picture = plain("red", 320, 320) if with_pictures else None
    headings = [[Heading(f"number {number}", picture) for number in range(count)] for count in (rows, columns)]
    sheet = contact_sheet([[plain("blue", 900, 900)] * columns] * rows, *headings)
    assert max(sheet.size) <= MAX_SIDE
    if max(rows, columns) >= 12:
        assert max(sheet.size) > MAX_SIDE * 0.6  # and the space is used


def test_rows_that_do_not_fit_are_counted_in_a_line_below():
    rows = [Heading(f"row {number}") for number in range(200)]
    cells = [[plain("red", 40, 40)]] * len(rows)
    sheet = contact_sheet(cells, rows, [Heading("column")])
    end = box_of(sheet, COLOURS["red"])[3]
    assert sheet.height - end > LINE and ink(sheet, (0, end, sheet.width, sheet.height)) > 20
    fitting = contact_sheet(cells[:10], rows[:10], [Heading("column")])
    assert fitting.height - box_of(fitting, COLOURS["red"])[3] == GAP


def test_a_table_without_cells_is_refused():
    assert "at least one row" in refusal(contact_sheet, [], [], [Heading("a")])


def test_long_names_are_shortened_in_their_middle():
    font = ImageFont.load_default(FONT_SIZE)
    assert shorten("short.jpg", font, 200) == "short.jpg"
    name = shorten("a very long name of a photo number 17.jpg", font, 200)
    assert name.startswith("a very") and name.endswith("17.jpg") and "…" in name and font.getlength(name) <= 200
    assert shorten("two\nlines\x1b", font, 200) == "two lines?"
    assert shorten("wide", font, 1) == "…"


def test_the_file_tells_what_the_sheet_shows(tmp_path):
    sheet = contact_sheet([[make_picture(50, 40)]], [Heading("a")], [Heading("b")])
    path = save_sheet(sheet, tmp_path / "sheet.png", "contents")
    with Image.open(path) as saved:
        assert saved.tobytes() == sheet.tobytes()
    assert contents_of(path) == "contents"
    make_picture(20, 20).save(tmp_path / "other.png")
    assert contents_of(tmp_path / "other.png") is None and contents_of(tmp_path / "missing.png") is None
