"""The command line: paint one photo (`nst CONTENT STYLE -o OUT.png`), a folder (`nst batch`), or serve the page.

`python -m nst` is the same command.
"""

import argparse
import contextlib
import itertools
import json
import math
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nst.arguments import ArgumentParser, add_settings, with_flags
from nst.errors import StyleTransferError
from nst.output.protection import FileKept, check_output, check_replaceable, check_writable, refuse_inputs
from nst.settings import DEFAULT_PRESET, StyleSettings

LOSSES = ("content_loss", "laplacian_loss", "style_loss", "tv_loss", "total_loss")

if TYPE_CHECKING:  # these wait for torch, so the commands import them once the flags are known to be right
    from nst.output.recipe import PaintingRecipe
    from nst.stylization import Step


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    0, or 2 with one line on stderr for input that cannot be used. Ctrl-C saves the picture as it is, which counts as
    success; before the first step the status is 130. A batch returns 130 after Ctrl-C, and 1 if some pictures could not
    be painted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"batch": _run_batch, "app": _run_app}
    command = commands.get(arguments[0]) if arguments else None
    try:
        return command(arguments[1:]) if command else _run_painting(arguments)
    except StyleTransferError as error:
        print(f"nst: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        saved = "" if command else " before the first step; nothing was saved"
        print(f"nst: stopped{saved}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return _end_without_reader()


# --- one picture ------------------------------------------------------------------------------------------------------


def build_parser() -> ArgumentParser:
    """Return the parser of `nst CONTENT STYLE -o OUT.png`."""
    parser = ArgumentParser(
        prog="nst",
        description="Paint a photo in the style of a picture.",
        epilog="nst batch FOLDER --style STYLE --out DIR paints a whole folder: see nst batch --help. "
        "nst app serves the page: see nst app --help.",
    )
    add = parser.add_argument
    add("content", metavar="CONTENT", help="the photo")
    add("style", metavar="STYLE", help="the painting")
    add("-o", "--output", metavar="OUT.png", required=True, type=Path, help="where the result goes")
    add("--recipe", metavar="FILE.png", type=Path, help="paint as that result was painted; other flags override it")
    add_settings(parser)
    add("--bits", type=int, choices=(8, 16), default=8, help="bits of each channel (default 8; 16 for PNG and TIFF)")
    add("--keep-alpha", action="store_true", help="give the result the photo's transparency (PNG, TIFF)")
    add("--film", "--video", metavar="FILE", type=Path, help="also save how it was painted, as .webp or .mp4")
    add("--save-every", type=int, metavar="N", help="also save the picture every N steps, as OUT-<step>.png")
    add("--overwrite", action="store_true", help="--save-every also replaces files that this program did not write")
    add("--json", action="store_true", help="print one line of JSON about the result")
    return parser


def _run_painting(arguments: Sequence[str]) -> int:
    args = build_parser().parse_args(arguments)
    started = time.perf_counter()
    settings, followed = _read_settings(args)
    step = _paint(args, settings, followed)
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
        print(json.dumps(report), flush=True)
    return 0


def _read_settings(args: argparse.Namespace) -> "tuple[StyleSettings, PaintingRecipe | None]":
    """Check the flags; return the settings, and the recipe that is followed, if there is one."""
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
    refuse_inputs(_outputs(args), [args.content, args.style, args.recipe or "", args.backbone or ""])

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


def _outputs(args: argparse.Namespace) -> list[Path]:
    """Return every file that the command may write."""
    stem, suffix = re.escape(args.output.stem), re.escape(args.output.suffix)
    folder = args.output.parent
    saved = [path for path in folder.glob("*") if re.fullmatch(rf"{stem}-\d{{5,}}{suffix}", path.name)]
    return [args.output, *([args.film] if args.film else []), *(saved if args.save_every else [])]


def _paint(args: argparse.Namespace, settings: StyleSettings, followed: "PaintingRecipe | None") -> "Step":
    """Paint, save the result, and return the last step."""
    from tqdm import tqdm

    from nst.io.reading import load_photo, load_picture
    from nst.io.transparency import transparency_of
    from nst.output.film import Film
    from nst.output.recipe import describe
    from nst.output.results import save_result, unrounded
    from nst.stylization import stylize

    last_step = followed.steps_done if followed and args.steps is None else settings.steps
    film = Film() if args.film else None
    # An image for every step that is saved or filmed: the greatest common divisor of both intervals.
    preview_every = math.gcd(args.save_every or 0, Film.interval(last_step) if film else 0) or None
    with _catch_ctrl_c() as was_interrupted:
        photo = load_photo(args.content)
        transparency = transparency_of(photo) if args.keep_alpha else {}
        style = load_picture(args.style)
        recipe = describe(photo, style, settings)
        if followed:
            _warn_about_differences(followed, recipe)
        steps_done = itertools.count(1)
        steps = stylize(
            photo,
            style,
            settings,
            preview_every=preview_every,
            should_stop=lambda: next(steps_done) >= last_step or was_interrupted(),
        )
        # The delay hides the bar until the first step, which is where unusable input is refused.
        with tqdm(total=last_step, unit="step", file=sys.stderr, delay=1e-3) as bar:
            for step in steps:
                if film:
                    film.add(step)
                if step.step == 0:  # a sketch
                    continue
                losses = f"content {step.content_loss:.3g}, style {step.style_loss:.3g}, total {step.total_loss:.3g}"
                bar.set_postfix_str(f"{losses}, {step.seconds_left:.0f} s left", refresh=False)
                bar.update()
                recipe = replace(recipe, steps_done=step.step)
                if args.save_every and step.step % args.save_every == 0 and step.image:
                    path = args.output.with_name(f"{args.output.stem}-{step.step:05d}{args.output.suffix}")
                    try:
                        check_replaceable(path, args.overwrite)
                        save_result(step.image, path, recipe, **transparency)
                    except FileKept as kept:
                        bar.write(f"nst: {kept}", file=sys.stderr)
        save_result(unrounded(step) if args.bits == 16 else step.image, args.output, recipe, **transparency)
        if film:
            film.save(args.film)
    if was_interrupted():
        print(f"nst: stopped at step {step.step} of {last_step}; the picture is in {args.output}", file=sys.stderr)
    return step


def _warn_about_differences(followed: "PaintingRecipe", recipe: "PaintingRecipe") -> None:
    from nst.output.recipe import find_differences

    if not followed.repeatable:
        print("nst: warning: that run was continued with other settings or more steps; its recipe holds the last "
              "ones, which paint another picture", file=sys.stderr)  # fmt: skip
    if differences := find_differences(followed, recipe):
        print(f"nst: warning: not the recipe's {', not its '.join(differences)}", file=sys.stderr)


# --- a folder ---------------------------------------------------------------------------------------------------------


def build_batch_parser() -> ArgumentParser:
    """Return the parser of `nst batch`."""
    parser = ArgumentParser(
        prog="nst batch",
        description="Paint every picture in a folder. Finished pictures are left out, so the same command continues "
        "after Ctrl-C; under torchrun, each process paints its share.",
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="the photos")
    add("--style", metavar="STYLE[:WEIGHT]", action="append", required=True, help="the painting; repeat it for several")
    add("--out", metavar="DIR", required=True, type=Path, help="where the results go, as PNG files")
    add_settings(parser)
    add("--film", "--video", choices=("webp", "mp4"), help="also save how each was painted, beside it")
    add("--overwrite", action="store_true", help="also replace files that this program did not write")
    return parser


def _run_batch(arguments: Sequence[str]) -> int:
    args = build_batch_parser().parse_args(arguments)
    settings = with_flags(StyleSettings.preset(args.preset or DEFAULT_PRESET), args)
    check_writable(args.out / "any.png")

    from tqdm import tqdm

    from nst.pictures import Style
    from nst.tools.batch import count_failures, is_first_process, jobs_of_this_process, paint_all, plan

    styles = [Style(*_split_weight(text)) for text in args.style]
    all_jobs = plan(args.folder, args.out)
    jobs, finished, failed = jobs_of_this_process(all_jobs), 0, 0
    film = f".{args.film}" if args.film else None

    def show_progress(job, step) -> None:
        bar.set_postfix_str(f"{job.source.name}, step {step.step} of {step.steps}")

    with _catch_ctrl_c() as was_interrupted:
        options = {"film": film, "overwrite": args.overwrite}
        outcomes = paint_all(jobs, styles, settings, on_step=show_progress, should_stop=was_interrupted, **options)
        with tqdm(total=len(jobs), unit="picture", file=sys.stderr) as bar:
            for outcome in outcomes:
                finished += 1
                if outcome.error:
                    failed += 1
                    bar.write(f"nst: {outcome.error}", file=sys.stderr)
                bar.update()
    if finished < len(jobs):
        progress = f"{finished - failed} of {len(jobs)} pictures are done"
        print(f"nst: stopped; {progress}; run the same command again to continue", file=sys.stderr)
        return 130
    failed = count_failures(failed)
    if failed and is_first_process():
        print(f"nst: {failed} of {len(all_jobs)} pictures could not be painted", file=sys.stderr)
    return 1 if failed else 0


def _split_weight(text: str) -> tuple[str, float]:
    """Split `a.jpg:0.5` into a picture and its weight; a file with a colon in its name is still found."""
    path, _, weight = text.rpartition(":")
    try:
        return (text, 1.0) if os.path.exists(text) or not path else (path, float(weight))
    except ValueError:
        return text, 1.0


# --- the page, and what the commands share ----------------------------------------------------------------------------


def _run_app(arguments: Sequence[str]) -> int:
    from nst.web.server import main as serve_app

    return serve_app(arguments, program="nst app")


@contextlib.contextmanager
def _catch_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C was pressed. Ctrl-C has no other effect meanwhile."""
    presses: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: presses.append(number))
    try:
        yield lambda: bool(presses)
    finally:
        signal.signal(signal.SIGINT, previous)


def _end_without_reader() -> int:
    """Return the status of a program that SIGPIPE ended (`nst ... | head`), and silence Python's last flush."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return 128 + 13
