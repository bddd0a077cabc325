"""`nst grid`: one photo with many settings on one sheet, and everything that can be wrong with them."""

import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nst.stylization
from nst import cli
from nst.cli import grid
from nst.cli.grid import Axis, build_parser, combine, read_axis
from nst.errors import StyleTransferError
from nst.settings import StyleSettings
from nst.stylization import stylize


@pytest.fixture
def base(random_checkpoint) -> dict:
    return {"size": 48, "steps": 2, "sketch": False, "backbone": str(random_checkpoint), "device": "cpu"}


@pytest.fixture
def command(pictures, random_checkpoint, tmp_path) -> list[object]:
    """Arguments of a small grid without axes. Its output is `out/sheet.png`."""
    flags = ["--size", 48, "--steps", 2, "--no-sketch", "--backbone", random_checkpoint, "--device", "cpu"]
    return [*pictures, "-o", tmp_path / "out" / "sheet.png", *flags]


def run(*arguments: object) -> int:
    return cli.main(["grid", *map(str, arguments)])


def messages(capfd) -> list[str]:
    """Return the lines on standard error that are no progress bar."""
    return [line for line in capfd.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("nst")]


def place_of(sheet: Path, picture: Image.Image) -> tuple[int, int] | None:
    """Return the left top corner of a picture on a sheet."""
    with Image.open(sheet) as image:
        whole, part = np.asarray(image.convert("RGB")), np.asarray(picture)
    for top, left in zip(*np.nonzero((whole == part[0, 0]).all(2)), strict=True):
        if np.array_equal(whole[top : top + part.shape[0], left : left + part.shape[1]], part):
            return int(left), int(top)
    return None


def test_every_picture_is_the_one_that_stylize_paints_in_its_row_and_column(command, base, pictures):
    assert run(*command, "--rows", "style-weight=1,200", "--columns", "preset=quick,covariance") == 0
    places = {}
    for weight in (1, 200):
        for preset in ("quick", "covariance"):
            *_, step = stylize(*pictures, StyleSettings.preset(preset, **base, style_weight=weight))
            places[weight, preset] = place_of(command[3], step.image)
    assert None not in places.values()
    for preset in ("quick", "covariance"):
        assert places[1, preset][0] == places[200, preset][0] and places[1, preset][1] < places[200, preset][1]
    for weight in (1, 200):
        assert places[weight, "quick"][1] == places[weight, "covariance"][1]
        assert places[weight, "quick"][0] < places[weight, "covariance"][0]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_one_setting_is_enough_and_the_sheet_is_lossless(command, base, pictures, suffix):
    command[3] = command[3].with_suffix(suffix)
    assert run(*command, "--columns", "seed=1,2", "--dark") == 0
    *_, step = stylize(*pictures, StyleSettings(**base, seed=2))
    assert place_of(command[3], step.image)
    with Image.open(command[3]) as sheet:
        assert max(sheet.convert("RGB").getpixel((0, 0))) < 60


# The settings


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("style-weight=5, 15.5", Axis("style_weight", (5.0, 15.5))),
        ("style_weight=1e3", Axis("style_weight", (1000.0,))),
        ("steps=3,4", Axis("steps", (3, 4))),
        ("sketch=yes,no,true,off", Axis("sketch", (True, False, True, False))),
        ("init=noise,style", Axis("init", ("noise", "style"))),
        ("style-layers=conv1_1+conv2_1,conv3_1", Axis("style_layers", (("conv1_1", "conv2_1"), ("conv3_1",)))),
        ("preset=fine", Axis("preset", ("fine",))),
    ],
)
def test_an_axis_is_read(text, axis):
    assert read_axis(text, "--rows") == axis


def test_headings_name_the_flag_and_the_value():
    texts = ("style_weight=5,0.25", "sketch=yes", "style-layers=conv1_1+conv2_1")
    names = [heading for text in texts for heading in read_axis(text, "--rows").headings()]
    assert names == ["style-weight 5", "style-weight 0.25", "sketch yes", "style-layers conv1_1+conv2_1"]


def test_the_axes_change_the_preset_and_the_flags_and_pictures_are_small():
    args = build_parser().parse_args(["a", "b", "-o", "c", "--preset", "fine", "--seed", "7"])
    ((first, second),) = combine(None, Axis("tv_weight", (1.0, 2.0)), args)
    assert first == StyleSettings.preset("fine", size=256, seed=7, tv_weight=1.0)
    assert second == StyleSettings.preset("fine", size=256, seed=7, tv_weight=2.0)
    args = build_parser().parse_args(["a", "b", "-o", "c", "--steps", "9"])
    ((only,),) = combine(Axis("preset", ("quick",)), Axis("size", (64,)), args)
    assert only == StyleSettings.preset("quick", size=64, steps=9)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "Name a setting and its values"),
        (["--rows", "style-weight"], "--rows must be a setting and its values"),
        (["--columns", "style-weight=1,,2"], "--columns must be a setting and its values"),
        (["--rows", "brightness=1,2"], "--rows: unknown setting 'brightness'"),
        (["--rows", "style-weight=5,heavy"], "style_weight must be a number from 0 to 1e+09, not 'heavy'"),
        (["--rows", "steps=5.5"], "steps must be a whole number"),
        (["--rows", "sketch=maybe"], "sketch must be true or false, not 'maybe'"),
        (["--rows", "preset=best"], "Unknown preset 'best'"),
        (["--rows", "style-layers=conv9_9"], "style_layers must be"),
        (["--rows", "seed=1", "--columns", "seed=2"], "seed is given twice"),
        (["--rows", "style_weight=1", "--style-weight", "2"], "style-weight is given twice"),
        (["--rows", "preset=quick", "--preset", "fine"], "preset is given twice"),
        (["--rows", "seed=1,2,3,4,5,6,7,8,9,10,11", "--columns", "steps=1,2,3,4,5,6,7,8,9,10"], "at most 100"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_refused_in_one_line(pictures, tmp_path, capfd, flags, message):
    assert run(*pictures, "-o", tmp_path / "sheet.png", *flags) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and message in error and not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [("photo.png", "one of the inputs"), ("sheet.jpg", "saved without losses"), ("sheet", "needs a suffix"),
     ("sheet.txt", "not a picture format"), ("", "this is a folder")],
)  # fmt: skip
def test_outputs_that_cannot_be_used_are_refused(pictures, tmp_path, capfd, output, message):
    before = pictures[0].read_bytes()
    assert run(*pictures, "-o", tmp_path / output, "--rows", "seed=1") == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and message in error and pictures[0].read_bytes() == before


# Failures and stops


def test_a_picture_that_fails_leaves_an_empty_cell(command, base, pictures, capfd):
    Image.new("RGB", (96, 30), "red").save(pictures[0])  # with a long side of 48 px, the short one would have 15
    assert run(*command[:4], *command[6:], "--rows", "size=48,64") == 1
    assert messages(capfd) == [
        "nst: The content picture: its short side would be 15 px at this size; at least 16 px are needed.",
        "nst: 1 of 2 pictures could not be painted",
    ]
    *_, step = stylize(*pictures, StyleSettings(**base | {"size": 64}))
    assert place_of(command[3], step.image)


def test_if_all_pictures_fail_there_is_no_sheet(command, pictures, capfd):
    Image.new("RGB", (96, 30), "red").save(pictures[0])
    assert run(*command, "--rows", "seed=1,2") == 2
    assert len(messages(capfd)) == 1 and not command[3].exists()


@pytest.fixture
def raise_in(monkeypatch):
    """Let a grid send itself a signal after the first step of its picture `picture`, counted from 1."""

    def raise_in(picture: int, number: int) -> None:
        runs = []

        def stylize(*arguments, **options):
            runs.append(None)
            for step in original(*arguments, **options):
                if len(runs) == picture:
                    signal.raise_signal(number)
                yield step

        original = nst.stylization.stylize
        monkeypatch.setattr("nst.stylization.stylize", stylize)

    return raise_in


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_keeps_the_finished_pictures(command, base, pictures, raise_in, capfd, number, status):
    *_, step = stylize(*pictures, StyleSettings(**base | {"steps": 4}, seed=1))
    raise_in(2, number)
    assert run(*command, "--steps", 4, "--rows", "seed=1,2,3") == status
    assert place_of(command[3], step.image)
    assert messages(capfd) == [f"nst: stopped; 1 of 3 pictures are in {command[3]}"]


def test_before_the_first_picture_a_signal_saves_nothing(command, raise_in, capfd):
    raise_in(1, signal.SIGINT)
    assert run(*command, "--rows", "seed=1,2") == 130
    assert messages(capfd) == ["nst: stopped before the first picture was finished; nothing was saved"]
    assert not command[3].parent.exists()


def test_the_number_of_pictures_is_limited_exactly(monkeypatch):
    monkeypatch.setattr(grid, "MOST_PICTURES", 6)
    args = build_parser().parse_args(["a", "b", "-o", "c"])
    assert len(combine(Axis("seed", (1, 2, 3)), Axis("steps", (1, 2)), args)) == 3
    with pytest.raises(StyleTransferError, match="at most 6 pictures, not 7"):
        combine(Axis("seed", tuple(range(7))), None, args)
