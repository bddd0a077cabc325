"""The command `nst grid`: paint one photo with many values of one or two settings, on a contact sheet."""

import argparse
import signal
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from nst.arguments import SETTING_FLAGS, ArgumentParser, add_settings, with_flags
from nst.cli.messages import ERRORS, say
from nst.errors import StyleTransferError, quote
from nst.memory_limit import check_start
from nst.output.protection import check_output, output_path, refuse_inputs
from nst.settings import DEFAULT_PRESET, StyleSettings
from nst.stop_signals import StopRequest

if TYPE_CHECKING:
    from PIL import Image

MOST_PICTURES = 100
SIZE = 256  # px: large enough to judge a style, and painted in a quarter of the time of the default
LOSSLESS = (".png", ".tif", ".tiff", ".webp")
PRESET = "preset"  # may be varied like a setting


@dataclass(frozen=True)
class Axis:
    """A setting that is varied, and its values. The setting is a field of `StyleSettings`, or `preset`."""

    setting: str
    values: tuple[Any, ...]

    def headings(self) -> list[str]:
        """Return the texts of the headings of the rows or columns."""
        return [f"{self.setting.replace('_', '-')} {_show(value)}" for value in self.values]


def build_parser() -> ArgumentParser:
    """Return the parser of `nst grid`."""
    parser = ArgumentParser(
        prog="nst grid",
        description="Paint one photo with many values of one or two settings, and save all pictures on one sheet.",
        epilog="Exit status: 0 after painting or Ctrl-C, 1 if some pictures could not be painted, 2 for input that "
        "cannot be used; 143 after SIGTERM and 129 after SIGHUP. A signal keeps the sheet with the pictures that are "
        "finished; before the first one is, nothing is saved, and Ctrl-C gives 130.",
    )
    add = parser.add_argument
    add("content", metavar="CONTENT", help="the photo")
    add("style", metavar="STYLE", help="the painting, or a saved style")
    add("-o", "--output", metavar="SHEET.png", required=True, help="where the sheet goes")
    add("--rows", metavar="SETTING=A,B", help="a setting, named as its flag or `preset`, and its value in each row")
    add("--columns", metavar="SETTING=A,B", help="the same for the columns")
    add("--dark", action="store_true", help="a sheet with dark ground")
    add_settings(parser)
    return parser


def run(arguments: Sequence[str], stop: StopRequest) -> int:
    """Paint a grid; return the exit status.

    Raises StyleTransferError for input that cannot be used, and `Stopped` for a signal before a picture is finished.
    """
    args = build_parser().parse_args(arguments)
    args.output = output_path(args.output, example="sheet.png")
    check_output(args.output, is_lossless=False)
    if args.output.suffix.lower() not in LOSSLESS:
        raise StyleTransferError(f"{args.output.name}: a sheet is saved without losses; use .png, .tif or .webp.")
    refuse_inputs([args.output], [args.content, args.style, args.backbone or ""])
    rows, columns = (read_axis(text, flag) for text, flag in ((args.rows, "--rows"), (args.columns, "--columns")))
    grid = combine(rows, columns, args)
    check_start()
    pictures, errors = _paint(grid, args, stop)
    stop.hold()
    from nst.output.results import save_result

    save_result(_draw_sheet(pictures, rows, columns, args.dark), args.output)
    count = sum(map(len, grid))
    for error in dict.fromkeys(errors):
        say(error)
    if errors:
        say(f"{len(errors)} of {count} pictures could not be painted")
    if stop.is_set() and len(pictures) + len(errors) < count:
        say(f"stopped; {len(pictures)} of {count} pictures are in {args.output}")
        return 0 if stop.number == signal.SIGINT else stop.status
    return 1 if errors else 0


# --- the settings -----------------------------------------------------------------------------------------------------


def read_axis(text: str | None, flag: str) -> Axis | None:
    """Return the axis that a flag describes, such as `style-weight=5,15`; None without the flag.

    Layers, of which a value may have several, are joined with `+`.

    Raises StyleTransferError for a text of another form, or an unknown setting. Values are checked by `combine`.
    """
    if text is None:
        return None
    name, equals, values = text.partition("=")
    defaults = {field.name: field.default for field in fields(StyleSettings)} | {PRESET: DEFAULT_PRESET}
    setting = name.strip().replace("-", "_")
    if not equals or not all(value.strip() for value in values.split(",")):
        raise StyleTransferError(
            f"{flag} must be a setting and its values, such as style-weight=5,15, not {quote(text)}."
        )
    if setting not in defaults:
        raise StyleTransferError(f"{flag}: unknown setting {quote(name)}; use {', '.join(defaults)}.")
    values = tuple(_parse(value.strip(), defaults[setting]) for value in values.split(","))
    return Axis(setting, values)


def _parse(text: str, like: Any) -> Any:
    """Return a text as a value of the type of `like`; another text stays as it is, and `StyleSettings` refuses it."""
    if isinstance(like, tuple):
        return tuple(text.split("+"))
    if isinstance(like, bool):
        return {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(text, text)
    try:
        return text if isinstance(like, str) else type(like)(text)
    except ValueError:
        return text


def _show(value: Any) -> str:
    """Return a value as `_parse` reads it."""
    if isinstance(value, tuple):
        return "+".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def combine(rows: Axis | None, columns: Axis | None, args: argparse.Namespace) -> list[list[StyleSettings]]:
    """Return the settings of each picture, by row and column: the preset, then the flags, then the axes.

    Raises StyleTransferError for a value that cannot be used, a setting that is given twice, no axis, and for more than
    `MOST_PICTURES` pictures.
    """
    axes = [axis for axis in (rows, columns) if axis]
    if not axes:
        raise StyleTransferError("Name a setting and its values, such as --rows style-weight=5,15,45.")
    given = {flag.replace("-", "_") for flag in SETTING_FLAGS} | {PRESET}
    given = [name for name in given if getattr(args, name) is not None] + [axis.setting for axis in axes]
    if twice := next((axis.setting for axis in axes if given.count(axis.setting) > 1), None):
        raise StyleTransferError(f"{twice.replace('_', '-')} is given twice: vary it, or give its flag.")
    count = len(rows.values if rows else "1") * len(columns.values if columns else "1")
    if count > MOST_PICTURES:
        raise StyleTransferError(f"A grid has at most {MOST_PICTURES} pictures, not {count}: name fewer values.")

    def settings(*pairs: tuple[str, Any] | None) -> StyleSettings:
        changes = dict(filter(None, pairs))
        settings = StyleSettings.preset(changes.pop(PRESET, None) or args.preset or DEFAULT_PRESET, size=SIZE)
        return replace(with_flags(settings, args), **changes)

    return [[settings(row, column) for column in _values(columns)] for row in _values(rows)]


def _values(axis: Axis | None) -> list[tuple[str, Any] | None]:
    """Return the setting with each of its values; one None without an axis."""
    return [(axis.setting, value) for value in axis.values] if axis else [None]


# --- painting ---------------------------------------------------------------------------------------------------------


def _paint(
    grid: list[list[StyleSettings]], args: argparse.Namespace, stop: StopRequest
) -> "tuple[dict[tuple[int, int], Image.Image], list[str]]":
    """Return the finished pictures by row and column, and the errors of those that could not be painted.

    Raises StyleTransferError if none could be painted.
    """
    from tqdm import tqdm

    from nst.io.reading import load_photo
    from nst.pictures import load_painting
    from nst.stylization import stylize

    photo, painting = load_photo(args.content), load_painting(args.style)
    cells = {(row, column): x for row, settings in enumerate(grid) for column, x in enumerate(settings)}
    pictures, errors = {}, []
    # The delay hides the bar until the first step. Without an interval of 0, a quick run would end without a line feed.
    with tqdm(total=len(cells), unit="picture", file=ERRORS, delay=1e-3, mininterval=0) as bar:
        for place, settings in cells.items():
            try:
                for step in stylize(photo, painting, settings, preview_every=None, should_stop=stop.is_set):
                    bar.set_postfix_str(f"step {step.step} of {step.steps}")
            except StyleTransferError as error:
                errors.append(str(error))
                continue
            if step.step < step.steps:  # stopped: this picture could not be compared with the others
                break
            pictures[place] = step.image
            stop.hold()  # from now on there is something to keep
            bar.update()
            if stop.is_set():
                break
    if not pictures:
        raise StyleTransferError(errors[0])
    return pictures, errors


def _draw_sheet(
    pictures: "dict[tuple[int, int], Image.Image]", rows: Axis | None, columns: Axis | None, is_dark: bool
) -> "Image.Image":
    """Return the contact sheet of the pictures, by row and column."""
    from nst.output.contact_sheet import Heading, contact_sheet

    names = [[Heading(text) for text in (axis.headings() if axis else [""])] for axis in (rows, columns)]
    cells = [[pictures.get((row, column)) for column in range(len(names[1]))] for row in range(len(names[0]))]
    largest = max(max(picture.size) for picture in pictures.values())
    return contact_sheet(cells, *names, cell_side=largest, is_dark=is_dark)
