"""The command `nst CONTENT STYLE -o OUT.png`: paint one photo."""

import argparse
import itertools
import json
import math
import os
import re
import shlex
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nst.arguments import ArgumentParser, add_settings, with_flags
from nst.cli.messages import print_result, say
from nst.cli.named_styles import REGION, load_all, name_styles
from nst.errors import StyleTransferError
from nst.memory_limit import check_start
from nst.output.protection import (
    FileKept,
    check_output,
    check_replaceable,
    check_writable,
    output_path,
    refuse_inputs,
)
from nst.settings import DEFAULT_PRESET, StyleSettings
from nst.stop_signals import StopRequest

LOSSES = ("content_loss", "laplacian_loss", "style_loss", "tv_loss", "total_loss")
EXIT_STATUS = (
    "Exit status: 0 after painting or Ctrl-C, 2 for input that cannot be used; 143 after SIGTERM and 129 after SIGHUP, "
    "which save the picture too; 130, 143 or 129 before the first step, when nothing is saved."
)

if TYPE_CHECKING:  # these wait for torch, so the command imports them once the flags are known to be right
    from nst.output.recipe import PaintingRecipe
    from nst.step import Step


def build_parser() -> ArgumentParser:
    """Return the parser of `nst CONTENT STYLE -o OUT.png`."""
    parser = ArgumentParser(
        prog="nst",
        description="Paint a photo in the style of a picture.",
        epilog="nst batch FOLDER --style STYLE --out DIR paints a whole folder: see nst batch --help. "
        "nst grid CONTENT STYLE -o SHEET.png paints with many settings: see nst grid --help. "
        "nst subject PHOTO -o MASK.png makes a mask for --region: see nst subject --help. "
        "nst style save STYLE -o NAME.style keeps the style of a painting: see nst style --help. "
        "nst video CLIP --style STYLE -o OUT.mp4 paints a clip: see nst video --help. "
        f"nst app serves the page: see nst app --help. {EXIT_STATUS}",
    )
    add = parser.add_argument
    add("content", metavar="CONTENT", help="the photo")
    add("style", metavar="STYLE[:WEIGHT]", nargs="+", help="the painting, or a saved style; name several to mix them")
    add("-o", "--output", metavar="OUT.png", required=True, help="where the result goes")
    add("--recipe", metavar="FILE.png", type=Path, help="paint as that result was painted; other flags override it")
    add("--region", metavar=REGION, action="append", default=[], help="paint only where the MASK of the photo is "
        "white, with PAINTING or else the first STYLE, taken from where PART, a mask of it, is white; repeat it for "
        "several. A STYLE that no region uses paints the rest; without one, the rest stays")  # fmt: skip
    add_settings(parser)
    add("--bits", type=int, choices=(8, 16), default=8, help="bits of each channel (default 8; 16 for PNG and TIFF)")
    add("--keep-alpha", action="store_true", help="give the result the photo's transparency (PNG, TIFF)")
    add("--film", "--video", metavar="FILE", help="also save how it was painted, as .webp or .mp4")
    add("--save-every", type=int, metavar="N", help="also save the picture every N steps, as OUT-<step>.png")
    add("--overwrite", action="store_true", help="--save-every also replaces files that this program did not write")
    add("--json", action="store_true", help="print one line of JSON about the result")
    return parser


def run(arguments: Sequence[str], stop: StopRequest) -> int:
    """Paint one photo; return the exit status.

    Raises StyleTransferError for input that cannot be used, and `Stopped` for a signal before the first step.
    """
    started = time.perf_counter()
    args = build_parser().parse_intermixed_args(arguments)
    args.styles = name_styles(args.style, args.region)
    args.output = output_path(args.output, example="result.png")
    args.film = output_path(args.film, example="film.mp4") if args.film else None
    check_start()
    settings, followed = _read_settings(args)
    step, was_stopped = _paint(args, settings, followed, stop)
    if args.json:
        report = {
            "output": str(args.output),
            "width": step.image.width,
            "height": step.image.height,
            "steps": step.step,
            "seconds": round(time.perf_counter() - started, 3),
            **{name: getattr(step, name) for name in LOSSES},
            "backbone": settings.backbone,
            "preset": args.preset or (None if args.recipe else DEFAULT_PRESET),
        }
        print_result(json.dumps(report))
    return stop.status if was_stopped and stop.number != signal.SIGINT else 0


def _read_settings(args: argparse.Namespace) -> "tuple[StyleSettings, PaintingRecipe | None]":
    """Check the flags; return the settings, and the recipe that is followed, if there is one."""
    _refuse_folders(args)
    if args.preset and args.recipe:
        raise StyleTransferError("--preset and --recipe both choose all settings: give one of them.")
    settings = None if args.recipe else with_flags(StyleSettings.preset(args.preset or DEFAULT_PRESET), args)
    if args.save_every is not None and args.save_every < 1:
        raise StyleTransferError("--save-every must be 1 or more.")
    check_output(args.output, is_lossless=args.bits == 16 or args.keep_alpha)
    if args.film:
        check_writable(args.film)
        if args.film.resolve() == args.output.resolve():
            raise StyleTransferError(f"{args.film}: the film and the result need a file each.")
    pictures = [file for style in args.styles for file in style.files]
    refuse_inputs(_outputs(args), [args.content, *pictures, args.recipe or "", args.backbone or ""])

    from nst.output.film import check_format
    from nst.output.recipe import LOCAL_FILE, read_recipe

    if args.film:
        check_format(args.film)
    if settings:
        return settings, None
    followed = read_recipe(args.recipe)
    settings = with_flags(followed.settings, args)
    if settings.backbone == LOCAL_FILE:
        raise StyleTransferError(f"{args.recipe.name}: its backbone was a file; name that file with --backbone.")
    return settings, followed


def _refuse_folders(args: argparse.Namespace) -> None:
    if os.path.isdir(args.content):
        styles = " ".join(f"--style {shlex.quote(text)}" for text in args.style)
        command = f"nst batch {shlex.quote(args.content)} {styles} --out DIR"
        raise StyleTransferError(f"{args.content}: this is a folder; to paint all photos in it: {command}")
    for style in args.styles:
        if folder := next(filter(os.path.isdir, style.files), None):
            raise StyleTransferError(f"{folder}: this is a folder; name one painting in it.")


def _outputs(args: argparse.Namespace) -> list[Path]:
    """Return every file that the command may write."""
    stem, suffix = re.escape(args.output.stem), re.escape(args.output.suffix)
    folder = args.output.parent
    saved = [path for path in folder.glob("*") if re.fullmatch(rf"{stem}-\d{{5,}}{suffix}", path.name)]
    return [args.output, *([args.film] if args.film else []), *(saved if args.save_every else [])]


def _paint(
    args: argparse.Namespace, settings: StyleSettings, followed: "PaintingRecipe | None", stop: StopRequest
) -> "tuple[Step, bool]":
    """Paint and save the result; return the last step, and whether a signal has stopped the run before its end."""
    from nst.cli.duration import announce_duration
    from nst.cli.progress import StepBar
    from nst.io.reading import load_photo
    from nst.io.transparency import transparency_of
    from nst.output.film import Film
    from nst.output.recipe import describe
    from nst.output.results import save_result, unrounded
    from nst.stylization import stylize

    last_step = followed.steps_done if followed and args.steps is None else settings.steps
    film = Film() if args.film else None
    # An image for every step that is saved or filmed: the greatest common divisor of both intervals. Otherwise for the
    # last one; the sketch is only shown in runs with images.
    preview_every = math.gcd(args.save_every or 0, Film.interval(last_step) if film else 0) or last_step
    photo = load_photo(args.content)
    transparency = transparency_of(photo) if args.keep_alpha else {}
    styles = load_all(args.styles)
    recipe = describe(photo, styles, settings)
    announce_duration(photo.size, settings)
    if followed:
        _warn_about_differences(followed, recipe)
    steps_done = itertools.count(1)
    steps = stylize(
        photo,
        styles,
        settings,
        preview_every=preview_every,
        should_stop=lambda: next(steps_done) >= last_step or stop.is_set(),
    )
    with StepBar(last_step) as bar:
        for step in steps:
            if step.step > 0:
                stop.hold()  # from now on there is a picture to keep
            if film:
                film.add(step)
            bar.show(step)
            if step.step == 0:  # a sketch
                continue
            recipe = replace(recipe, steps_done=step.step)
            if args.save_every and step.step % args.save_every == 0 and step.image:
                path = args.output.with_name(f"{args.output.stem}-{step.step:05d}{args.output.suffix}")
                try:
                    check_replaceable(path, args.overwrite)
                    save_result(step.image, path, recipe, **transparency)
                except FileKept as kept:
                    bar.say(str(kept))
    save_result(unrounded(step) if args.bits == 16 else step.image, args.output, recipe, **transparency)
    if film:
        film.save(args.film)
    was_stopped = stop.is_set() and step.step < last_step
    if was_stopped:
        by = "" if stop.number == signal.SIGINT else f" by {signal.Signals(stop.number).name}"
        saved = f"the picture is in {args.output}" + (f", the film in {args.film}" if film else "")
        say(f"stopped at step {step.step} of {last_step}{by}; {saved}")
    return step, was_stopped


def _warn_about_differences(followed: "PaintingRecipe", recipe: "PaintingRecipe") -> None:
    from nst.output.recipe import find_differences

    if not followed.repeatable:
        say("warning: that run was continued with other settings or more steps; its recipe holds the last ones, which "
            "paint another picture")  # fmt: skip
    if differences := find_differences(followed, recipe):
        say(f"warning: not the recipe's {', not its '.join(differences)}")
