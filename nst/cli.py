"""The command line: `python -m nst CONTENT STYLE -o OUT.png`, and `python -m nst batch` for a folder of photos."""

import argparse
import contextlib
import io
import itertools
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nst.errors import StyleTransferError
from nst.settings import DEFAULT_PRESET, PRESETS, StyleSettings

SETTING_FLAGS = {  # flag: (type, metavar, help); each overrides the preset's value
    "size": (int, "N", "long side of the result in px"),
    "steps": (int, "N", "optimiser steps over all stages, at least one at the final size"),
    "content-weight": (float, "X", "how much the photo's structure counts"),
    "laplacian-weight": (float, "X", "how much the photo's outlines count"),
    "style-weight": (float, "X", "how much the painting's texture and colour count"),
    "tv-weight": (float, "X", "how much smoothness counts (total variation)"),
    "style-scale": (float, "X", "broader strokes above 1, finer below: the painting's size in that of the result"),
    "preserve-colours": (bool, None, "paint the photo's luminance alone, and leave its colours as they are"),
    "start-noise": (float, "X", "noise laid over the start of every stage, 0 to 1: strokes grow from it"),
    "seed": (int, "N", "of the noise"),
    "init": (str, "START", "start from content (the photo), style (the photo in the painting's colours) or noise"),
    "backbone": (str, "B", "cifar100 (bundled), imagenet, a .safetensors file, or a Hub id owner/name[@revision]"),
    "device": (str, "D", "auto, cpu, cuda or mps"),
    "precision": (str, "P", "auto, float32 or bf16"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        # One line instead of argparse's usage block: the message says what is wrong.
        self.exit(2, f"{self.prog}: {StyleTransferError(message)}\n")


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nst",
        description="Paint a photo in the style of a picture.",
        epilog="nst batch FOLDER --style STYLE --out DIR paints a whole folder: see nst batch --help.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("content", metavar="CONTENT", help="the photo")
    add("style", metavar="STYLE", help="the painting")
    add("-o", "--output", metavar="OUT.png", required=True, type=Path, help="where the result goes")
    add("--recipe", metavar="FILE.png", type=Path, help="paint as that result was painted; flags given override it")
    _add_settings(parser)
    add("--bits", type=int, choices=(8, 16), default=8, help="of each colour in the result (default 8; 16: PNG, TIFF)")
    add("--keep-alpha", action="store_true", help="give the result the photo's transparency (PNG, TIFF)")
    add("--film", "--video", metavar="FILE", type=Path, help="also save how it was painted, as .webp or .mp4")
    add("--save-every", type=int, metavar="N", help="also save OUT-0000N.png every N steps")
    add("--json", action="store_true", help="print one line of JSON about the result")
    return parser


def build_batch_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nst batch",
        description="Paint every picture in a folder. What is done already is left out, so that the same command goes "
        "on after Ctrl-C; under torchrun, each process takes its share.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="the photos")
    add("--style", metavar="STYLE[:WEIGHT]", action="append", required=True, help="the painting; repeat it for several")
    add("--out", metavar="DIR", required=True, type=Path, help="where the results go, as PNG files")
    _add_settings(parser)
    add("--film", "--video", choices=("webp", "mp4"), help="also save how each was painted, beside it")
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", help=f"{', '.join(PRESETS)} (default {DEFAULT_PRESET})")
    for flag, (kind, metavar, text) in SETTING_FLAGS.items():
        if kind is bool:
            parser.add_argument(f"--{flag}", action=argparse.BooleanOptionalAction, help=text)
        else:
            parser.add_argument(f"--{flag}", type=kind, metavar=metavar, help=text)


def _settings(args: argparse.Namespace, base: StyleSettings) -> StyleSettings:
    """`base` with the flags that were given."""
    changes = {flag.replace("-", "_"): getattr(args, flag.replace("-", "_")) for flag in SETTING_FLAGS}
    return replace(base, **{name: value for name, value in changes.items() if value is not None})


@contextlib.contextmanager
def _ctrl_c_noted() -> Iterator[list[bool]]:
    """A list that is true once Ctrl-C was pressed, which does nothing else."""
    interrupted: list[bool] = []
    previous = signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)


def run(args: argparse.Namespace) -> dict:
    """Paint, save, and return what `--json` prints."""
    started = time.perf_counter()
    preset = args.preset or (None if args.recipe else DEFAULT_PRESET)
    if args.preset and args.recipe:
        raise StyleTransferError("--preset and --recipe both choose all settings: give one of them.")
    settings = _settings(args, StyleSettings.preset(preset)) if preset else None
    if args.save_every is not None and args.save_every < 1:
        raise StyleTransferError("--save-every must be 1 or more.")
    output: Path = args.output
    _check_output(output, lossless=args.bits == 16 or args.keep_alpha)
    if args.film:
        _check_place(args.film)
        if args.film.resolve() == output.resolve():
            raise StyleTransferError(f"{args.film}: the film and the result need a file each.")

    from tqdm import tqdm  # these wait for torch: only once the flags are known to be right

    from nst.io.reading import load_picture, load_with_opacity
    from nst.output.film import Film, check_format
    from nst.output.recipe import LOCAL_FILE, describe, find_differences, read_recipe
    from nst.output.results import save_result, unrounded
    from nst.stylization import stylize

    if args.film:
        check_format(args.film)
    followed = read_recipe(args.recipe) if args.recipe else None
    if followed:
        settings = _settings(args, followed.settings)
        if settings.backbone == LOCAL_FILE:
            raise StyleTransferError(f"{args.recipe.name}: its backbone was a file; name that with --backbone.")
    last = followed.steps_done if followed and args.steps is None else settings.steps
    film = Film() if args.film else None
    pictures_every = math.gcd(args.save_every or 0, Film.interval(last) if film else 0) or None
    with _ctrl_c_noted() as interrupted:
        photo, opacity = load_with_opacity(args.content)
        opacity = opacity if args.keep_alpha else None
        style = load_picture(args.style)
        recipe = describe(photo, style, settings)
        if followed and not followed.repeatable:
            print("nst: warning: that run went on with other settings than it began with; the recipe's are the last, "
                  "and paint another picture", file=sys.stderr)  # fmt: skip
        if followed and (other := find_differences(followed, recipe)):
            print(f"nst: warning: not the recipe's {', not its '.join(other)}", file=sys.stderr)
        asked = itertools.count(1)
        steps = stylize(
            photo,
            style,
            settings,
            preview_every=pictures_every,
            should_stop=lambda: next(asked) >= last or bool(interrupted),
        )
        # The delay keeps the bar away until the first step, where input that cannot be used is refused.
        with tqdm(total=last, unit="step", file=sys.stderr, delay=1e-3) as bar:
            for step in steps:
                losses = f"content {step.content_loss:.3g}, style {step.style_loss:.3g}, total {step.total_loss:.3g}"
                bar.set_postfix_str(f"{losses}, {step.seconds_left:.0f} s left", refresh=False)
                bar.update()
                recipe = replace(recipe, steps_done=step.step)
                if args.save_every and step.step % args.save_every == 0 and step.image:
                    path = output.with_name(f"{output.stem}-{step.step:05d}{output.suffix}")
                    save_result(step.image, path, recipe, opacity=opacity)
                if film:
                    film.add(step)
        save_result(unrounded(step) if args.bits == 16 else step.image, output, recipe, opacity=opacity)
        if film:
            film.save(args.film)
    if interrupted:
        print(f"nst: stopped at step {step.step} of {last}; what was there is in {output}", file=sys.stderr)
    return {
        "output": str(output),
        "width": step.image.width,
        "height": step.image.height,
        "steps": step.step,
        "seconds": round(time.perf_counter() - started, 3),
        "content_loss": step.content_loss,
        "laplacian_loss": step.laplacian_loss,
        "style_loss": step.style_loss,
        "tv_loss": step.tv_loss,
        "total_loss": step.total_loss,
        "backbone": settings.backbone,
        "preset": preset,
    }


def run_batch(args: argparse.Namespace) -> int:
    """Paint a folder; the exit status."""
    settings = _settings(args, StyleSettings.preset(args.preset or DEFAULT_PRESET))
    _check_place(args.out / "any.png")

    from tqdm import tqdm

    from nst.stages import Style
    from nst.tools.batch import all_failures, is_first, own_share, paint_all, plan

    styles = [Style(*_style_and_weight(text)) for text in args.style]
    jobs = plan(args.folder, args.out)
    share, finished, failed = own_share(jobs), 0, 0

    def show(job, step):
        bar.set_postfix_str(f"{job.source.name}, step {step.step} of {step.steps}")

    with _ctrl_c_noted() as interrupted:
        film = args.film and f".{args.film}"
        outcomes = paint_all(share, styles, settings, film=film, on_step=show, should_stop=lambda: bool(interrupted))
        with tqdm(total=len(share), unit="picture", file=sys.stderr) as bar:
            for outcome in outcomes:
                finished += 1
                if outcome.error:
                    failed += 1
                    bar.write(f"nst: {outcome.error}", file=sys.stderr)
                bar.update()
    if finished < len(share):
        done = f"{finished - failed} of {len(share)} pictures are done"
        print(f"nst: stopped; {done}; the same command goes on from there", file=sys.stderr)
        return 130
    failed = all_failures(failed)
    if failed and is_first():
        print(f"nst: {failed} of {len(jobs)} pictures could not be painted", file=sys.stderr)
    return 1 if failed else 0


def _style_and_weight(text: str) -> tuple[str, float]:
    """`a.jpg:0.5` is a picture and its weight; a file that has a colon in its name is still found."""
    path, _, weight = text.rpartition(":")
    try:
        return (text, 1.0) if os.path.exists(text) or not path else (path, float(weight))
    except ValueError:
        return text, 1.0


def _check_output(output: Path, lossless: bool) -> None:
    """Refuse before painting what could not be saved after it."""
    from PIL import Image

    Image.init()
    try:  # Pillow names formats that it cannot write, or not in colour
        kind = Image.EXTENSION[output.suffix.lower()]
        Image.new("RGB", (16, 16)).save(io.BytesIO(), kind)
    except Exception as error:
        raise StyleTransferError(f"{output.name}: not a picture format that can be written; use .png.") from error
    if lossless and kind not in ("PNG", "TIFF"):
        raise StyleTransferError(f"{output.name}: --bits 16 and --keep-alpha need .png or .tif.")
    _check_place(output)


def _check_place(path: Path) -> None:
    folder = next(parent for parent in path.absolute().parents if os.path.exists(parent))
    if "\0" in path.name or path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StyleTransferError(f"{path}: cannot be written there.")


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr for input that cannot be used.

    Ctrl-C saves the picture as it is and counts as success; before there is one, the status is 130. A batch has 130
    after Ctrl-C, and 1 where some pictures could not be painted.
    """
    argv = sys.argv[1:] if argv is None else argv
    batch = argv[:1] == ["batch"]
    args = build_batch_parser().parse_args(argv[1:]) if batch else build_parser().parse_args(argv)
    try:
        if batch:
            return run_batch(args)
        result = run(args)
    except StyleTransferError as error:
        print(f"nst: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nst: stopped" if batch else "nst: stopped before the first step; nothing was saved", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return _nobody_reads()
    if args.json:
        try:
            print(json.dumps(result), flush=True)
        except BrokenPipeError:
            return _nobody_reads()
    return 0


def _nobody_reads() -> int:
    """As a program that SIGPIPE ended (`nst ... | head`), without Python's complaint when it flushes once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return 128 + 13
